"""omote-site budget and ledger verify: what was spent of people's privacy, and is that complete?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consent.errors import ConsentError
from fl_client.errors import SiteError

if TYPE_CHECKING:
    from core_model.privacy.ledger import Ledger

ledger_app = typer.Typer(no_args_is_help=True, help="The privacy ledger: what was spent, on disk.")
Config = Annotated[Path, typer.Argument(help="The site.toml.")]


def budget(
    config: Config,
    people: Annotated[
        bool, typer.Option("--people", help="Also list each person. Keep what it prints inside.")
    ] = False,
) -> None:
    """Show how much of their privacy budget this site's people have spent: counts, no names."""
    from fl_client.budget_report import describe
    from fl_client.site import open_site

    try:
        site = open_site(config)
        ledger = _open_ledger(config)
        caps = site.config.caps
        for line in describe(ledger, site.recordings, caps.max_epsilon, caps.max_delta):
            typer.echo(line)
        if people:
            known = sorted(site.registry.state().subjects)
            epsilons = ledger.epsilons(known, ledger.delta or caps.max_delta).tolist()
            for person, epsilon in zip(known, epsilons, strict=True):
                typer.echo(f"{person:40} {epsilon:8.3f}")
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e


@ledger_app.command()
def verify(config: Config) -> None:
    """Check the ledger line by line, and that nothing the site ever told of it is missing.

    Exit code 1 names what is wrong: a line that was changed, or a copy that is too old.
    """
    from fl_client.ledger_head import check_extends, ledger_state
    from fl_client.private_round import told_in_consent_log
    from fl_client.site import open_site

    try:
        site = open_site(config)
        lines = _open_ledger(config).lines()
        told = told_in_consent_log(site)
        check_extends(lines, told)
        head = ledger_state(lines, None).head
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"ledger   {head.size} lines, unbroken; root {head.root}")
    if told is None:
        typer.echo("told     nothing yet: no private update was signed")
    else:
        typer.echo(f"told     {told.size} lines in the last private update; all of them are here")


def _open_ledger(config: Path) -> Ledger:
    """Open the ledger of a site; looking makes none."""
    from core_model.privacy.ledger import Ledger
    from core_model.privacy.ledger_lines import LedgerError
    from fl_client.config import load_site_config
    from fl_client.site import ledger_path

    settings = load_site_config(config)
    path = ledger_path(settings)
    if not path.exists():
        raise LedgerError(f"{path}: there is no privacy ledger; the first round begins one")
    return Ledger(path, settings.site_id)
