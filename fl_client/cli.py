"""omote-site: a site operator's commands. Thin: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from fl_client.commands import data, peers, pilot, taking_part
from fl_client.commands.budget import budget, ledger_app
from fl_client.commands.ingest import ingest
from fl_client.commands.training import finetune, pretrain
from fl_client.errors import SiteError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they hold subjects and keys
    help="Take part in a federation with your own faces.",
)
app.command()(ingest)
app.command()(pretrain)
app.command()(finetune)
app.command()(budget)
app.add_typer(ledger_app, name="ledger")
app.add_typer(taking_part.app)
app.add_typer(data.app, name="data")
app.add_typer(peers.app, name="peer")
app.add_typer(pilot.app, name="pilot")


@app.callback()
def main() -> None:
    """Take part in a federation with your own faces."""


@app.command()
def purge(
    config: Annotated[Path, typer.Argument(help="The site.toml.")],
    install: Annotated[
        bool, typer.Option("--install", help="Also do this after every withdrawal from now on.")
    ] = False,
) -> None:
    """Delete what is kept of people who withdrew. Rounds do this too: for when none will come."""
    from fl_client.forgetting import forget_withdrawn, install_purge
    from fl_client.site import open_site

    try:
        site = open_site(config)
        number = forget_withdrawn(site)
        hook = install_purge(config, site) if install else None
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Deleted identity rows and face crops of {number} people.")
    typer.echo("Recordings that must go too: omote-consent asset orphans")
    if hook is not None:
        typer.echo(f"After every withdrawal this runs: {hook}")


@app.command()
def link(config: Annotated[Path, typer.Argument(help="The site.toml.")]) -> None:
    """Tell the consent log which recordings there are: one person in each, as the lists say."""
    from fl_client.linking import link_recordings
    from fl_client.site import open_site

    try:
        number = link_recordings(open_site(config))
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Linked {number} recordings. A changed frame makes another recording.")


@app.command()
def check(config: Annotated[Path, typer.Argument(help="The site.toml.")]) -> None:
    """Check that this site can take part: machine, keys, recordings, consent, labels, server.

    Each line says ok, warning or error, and what to do. Exit code 1 if there is an error.
    """
    from fl_client.doctor import examine  # torch takes a second: not for --help
    from fl_client.host_check import examine_host
    from fl_client.server_check import examine_server
    from fl_client.site import open_site

    with taking_part.plain_errors():
        site = open_site(config)
        findings = [*examine_host(site), *examine(site), *examine_server(site.config, site.clock())]
    for line in (line for finding in findings for line in finding.lines()):
        typer.echo(line)
    if any(f.level == "error" for f in findings):
        raise typer.Exit(1)
    typer.echo("This site can take part.")


if __name__ == "__main__":
    app()
