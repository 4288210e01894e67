"""omote-model drift: whether a model in use sees what it was fitted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EXIT_DRIFT = 3


def drift(
    runs: Annotated[list[Path], typer.Argument(help="run.json of omote-model predict.")],
    model: Annotated[Path, typer.Option(help="The released model that they were read by.")],
    trust: Annotated[str | None, typer.Option(help="Key of whoever released it.")] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Though nobody vouches for it.")
    ] = False,
) -> None:
    """Compare histograms of what a model saw with those in its card. Exit code 3: they differ.

    No face is kept for it. What moved is a reason to check labelled frames of your own, and to join
    another round of training.
    """
    from core_model.release.card import Statistics
    from core_model.release.model_file import ModelFileError, read_model
    from core_model.release.signature import SignatureError, read_public_keys
    from core_model.use.drift import OTHER, compare

    try:
        keys = read_public_keys(trust) if trust else ()
        card = read_model(model, keys, may_be_unsigned=unsigned).card
        if card.statistics is None:
            raise ValueError(f"{model}: its release had no validation people to compare with")
        seen = [
            Statistics.model_validate(found["statistics"])
            for run in runs
            for found in json.loads(run.read_text("utf-8"))["inputs"].values()
        ]
        found = compare(card.statistics, seen)
    except (ModelFileError, SignatureError, ValueError, KeyError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    for one in found:
        typer.echo(f"{one.what:12} {one.index:6.3f}  {one.reading}")
    if found[0].index >= OTHER:
        raise typer.Exit(EXIT_DRIFT)
