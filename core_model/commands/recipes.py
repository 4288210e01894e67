"""omote-model recipe and train: published experiments, shown and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.checkpoint import CheckpointError
from core_model.data.recordings import read_recordings
from core_model.recipe import DIFFERENCES, load_recipe, shipped_recipes


def recipe(
    name: Annotated[str | None, typer.Argument(help="A shipped recipe; none lists them.")] = None,
) -> None:
    """Show a recipe as TOML, each number with its source, and where ours differs from the paper."""
    if name is None:
        for shipped in shipped_recipes():
            typer.echo(f"{shipped:15} {load_recipe(shipped).title}")
        return
    if name not in shipped_recipes():
        typer.echo(f"no recipe {name!r}; shipped are: {', '.join(shipped_recipes())}", err=True)
        raise typer.Exit(1)
    typer.echo(shipped_recipes()[name].read_text(encoding="utf-8").rstrip())
    typer.echo("\n# Where Omote's training differs from the authors' code:")
    for difference in DIFFERENCES[load_recipe(name).training.purpose]:
        typer.echo(f"# - {difference}")


def train(
    recipe: Annotated[str, typer.Option(help="A shipped recipe (omote-model recipe), or a file.")],
    recordings: Annotated[Path, typer.Option(help="Labelled recordings: recordings.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for the epochs.")],
    initial: Annotated[Path | None, typer.Option(help="Weights to start from.")] = None,
    test: Annotated[str | None, typer.Option(help="People to leave out, as bp4d/P1.")] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the other people who choose threshold and epoch.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train an AU detector by a recipe, in one place; keeps a checkpoint of every epoch."""
    from core_model.training.device import pick_device
    from core_model.training.recipe_run import run_recipe

    try:
        record = run_recipe(
            load_recipe(recipe),
            read_recordings(recordings),
            out,
            initial=initial,
            test_partition=test,
            held_out_share=held_out,
            seed=seed,
            device=pick_device(device),
            tell=typer.echo,
        )
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Trained on {record.num_frames:,} frames of {record.num_subjects} people.")
    typer.echo(f"Next: omote-model evaluate --checkpoint {out} --recordings ... --validation ...")
