"""omote-sim public: draw people for a server to measure models on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulations.faces.site import CACHE
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.public_people import FIRST_PUBLIC, draw_public


def public(
    folder: Annotated[Path, typer.Argument(help="Not there yet, such as server/public.")],
    people: Annotated[int, typer.Option(min=2, help="To test on.")] = 24,
    choosing: Annotated[int, typer.Option(min=1, help="Others, who choose the threshold.")] = 8,
    look: Annotated[str, typer.Option(help=f"Of the place: {', '.join(LOOKS)}.")] = "lab",
    frames: Annotated[int, typer.Option(min=2, help="Of each of two recordings.")] = 20,
    size: Annotated[int, typer.Option(min=32, max=512, help="Pixels; the model's own.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the people.")] = 0,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Draw a public set: people who do not exist, with labels of all Action Units.

    For [evaluation] of a server's federation.toml. Equal options give equal people.
    """
    if look not in LOOKS:
        raise typer.BadParameter(f"expected one of {', '.join(LOOKS)}", param_hint="--look")
    spec = FaceSiteSpec(
        name="public", seed=seed, first_person=FIRST_PUBLIC, num_people=people + choosing,
        frames_per_recording=frames, image_size=size, look=LOOKS[look],
    )  # fmt: skip
    try:
        draw_public(folder, spec, choosing, cache)
    except OSError as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Drew {people} people to test on and {choosing} others in {folder}. Next, in")
    typer.echo("federation.toml, with paths from its folder:")
    typer.echo("  [evaluation]")
    typer.echo(f'  recordings = ["{folder.name}/test.csv"]')
    typer.echo(f'  validation = ["{folder.name}/validation.csv"]')
