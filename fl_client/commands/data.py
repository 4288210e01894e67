"""omote-site data: what the site's data are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from fl_client.errors import SiteError

app = typer.Typer(no_args_is_help=True, help="What the site's data are made of.")


@app.callback()
def main() -> None:
    """What the site's data are made of."""


@app.command()
def report(
    site: Annotated[Path, typer.Option(help="The site.toml.")] = Path("site.toml"),
    out: Annotated[Path, typer.Option(help="Folder for data.html and data.json.")] = Path("report"),
) -> None:
    """Measure diversity, not only size: people, AUs, pose, light, copies, the identity shortcut.

    Says what to collect next. Stays at the site: nothing of it is sent. Needs the extra [report].
    """
    from rich.progress import Progress

    from fl_client.data_report import measure_site
    from fl_client.site import open_site

    try:
        from core_model.evaluation.report.data_page import write_data_report

        opened = open_site(site)
        with Progress(transient=True) as bar:
            task = bar.add_task("recordings", total=len(opened.recordings))
            found = measure_site(opened, lambda: bar.advance(task))
        page = write_data_report(found, out)
    except ModuleNotFoundError as e:
        typer.echo(f"error    {e.name} is missing: pip install 'omote[report]'", err=True)
        raise typer.Exit(1) from e
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    for number, text in enumerate(found.advice, start=1):
        typer.echo(f"{number}. {text}")
    typer.echo(f"Report: {page}")
