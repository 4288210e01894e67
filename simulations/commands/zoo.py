"""omote-sim zoo: build the model that comes with Omote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def zoo(
    out: Annotated[Path, typer.Option(help="Folder for faces, run and model.")] = Path("out/zoo"),
    people: Annotated[int, typer.Option(min=8, help="At each of four places.")] = 40,
    seed: Annotated[int, typer.Option(help="Of people and training.")] = 0,
) -> None:
    """Build the model of omote-model zoo anew, from generated faces and a seed.

    Takes about a quarter of an hour on one core. Equal seeds give equal weights on one machine.
    """
    from simulations.zoo import build_zoo  # torch takes a second: not for --help

    path = build_zoo(out, people=people, seed=seed, tell=typer.echo)
    typer.echo(f"Wrote {path.resolve()}")
