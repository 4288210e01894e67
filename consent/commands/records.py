"""Commands that keep records. Thin: parse, call one function, print."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from consent.registry import Registry

app = typer.Typer(no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--folder", help="Folder of the site's consent.")]
DEFAULT_FOLDER = Path("consent")


@app.command()
def init(
    site: Annotated[str, typer.Argument(help="Public name of the site.")],
    folder: Folder = DEFAULT_FOLDER,
    territory: Annotated[
        str | None, typer.Option(help="ISO 3166 code of where the data are used, such as DE.")
    ] = None,
) -> None:
    """Make the keys and an empty consent log of SITE."""
    try:
        registry = Registry.create(folder, site, lambda: datetime.now(UTC), territory=territory)
    except (ConsentError, FileExistsError) as e:
        typer.echo(f"{e}. This site has a log already; nothing was changed.", err=True)
        raise typer.Exit(2) from e
    typer.echo(f"Made {folder}. The key that others check this log with (it is no secret):")
    typer.echo(f"  {registry.log_vkey}")
    typer.echo("Next: omote-consent notice add")
