"""omote-site pilot report: what the pilot cost, found and changed, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from core_model.checkpoint import CheckpointError
from fl_client.errors import SiteError

app = typer.Typer(no_args_is_help=True, help="What a pilot came to.")


@app.callback()
def main() -> None:
    """What a pilot came to."""


@app.command()
def report(
    run: Annotated[Path, typer.Option(help="Folder of a run: omote-site finetune.")],
    site: Annotated[Path, typer.Option(help="The site.toml; [costs] in it has the prices.")] = Path(
        "site.toml"
    ),
    decisions: Annotated[
        Path | None, typer.Option(help="CSV of cases: case,truth,without,with.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pilot.html and pilot.json.")] = Path(
        "pilot"
    ),
) -> None:
    """Cost per labelled minute and person, F1 with intervals, decisions with and without, advice.

    Tested on are the run's test people, else those held out, if they agree to evaluation. Stays at
    the site, and names nobody. Needs the extra [report].
    """
    from fl_client.pilot_report import report_pilot
    from fl_client.site import open_site

    try:
        from core_model.evaluation.report.pilot_page import write_pilot_report

        found = report_pilot(open_site(site), run, decisions)
        page = write_pilot_report(found, out)
    except ModuleNotFoundError as e:
        typer.echo(f"error    {e.name} is missing: pip install 'omote[report]'", err=True)
        raise typer.Exit(1) from e
    except (SiteError, ConsentError, CheckpointError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Recommendation: {found.recommendation.advice}")
    for reason in found.recommendation.reasons:
        typer.echo(f"- {reason}")
    typer.echo(f"Report: {page}")
