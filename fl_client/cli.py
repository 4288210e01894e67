"""omote-site: a site operator's commands. Thin: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from fl_client.errors import SiteError

app = typer.Typer(no_args_is_help=True, help="Take part in a federation with your own faces.")


@app.callback()
def main() -> None:
    """Take part in a federation with your own faces."""


@app.command()
def forget(config: Annotated[Path, typer.Argument(help="The site.toml.")]) -> None:
    """Delete what is kept of people who withdrew. Rounds do this too: for when none will come."""
    from fl_client.forgetting import forget_withdrawn
    from fl_client.site import open_site

    try:
        number = forget_withdrawn(open_site(config))
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Deleted the identity rows of {number} people.")


@app.command()
def check(config: Annotated[Path, typer.Argument(help="The site.toml.")]) -> None:
    """Check that this site can take part: device, recordings, consent, labels."""
    from fl_client.doctor import examine  # torch takes a second: not for --help
    from fl_client.site import open_site

    try:
        findings = list(examine(open_site(config)))
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    for finding in findings:
        typer.echo(f"{finding.level:8} {finding.text}")
    if any(f.level == "error" for f in findings):
        raise typer.Exit(1)
    typer.echo("This site can take part.")
