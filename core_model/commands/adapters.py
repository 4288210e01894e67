"""omote-model adapt and merge: low-rank adapters into a checkpoint, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from core_model.adapting import merged, with_adapters
from core_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint


def adapt(
    checkpoint: Annotated[Path, typer.Argument(help="Weights without adapters.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    rank: Annotated[int, typer.Option(min=1, help="Of each adapter.")] = 4,
    alpha: Annotated[float, typer.Option(help="An adapter counts alpha / rank times.")] = 8.0,
    seed: Annotated[int, typer.Option(help="Of the fresh adapters.")] = 0,
) -> None:
    """Put fresh low-rank adapters (LoRA) beside the layers of every block; nothing else changes.

    A stage with scope = "lora" then trains and sends these and the AU head alone.
    """
    try:
        arrays, manifest = with_adapters(*load_checkpoint(checkpoint), rank, alpha, seed)
        save_checkpoint(out, arrays, manifest)
    except (CheckpointError, ValidationError, OSError) as e:
        typer.echo(f"{checkpoint}: {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Wrote {out} ({manifest.weights.num_bytes():,} bytes of weights).")
    typer.echo("Next: name it as 'initial' in federation.toml")


def merge(
    checkpoint: Annotated[Path, typer.Argument(help="Weights with adapters.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Melt adapters into the layers beside which they stand: the same model, plain again.

    ``export --format onnx`` does so by itself.
    """
    try:
        arrays, manifest = merged(*load_checkpoint(checkpoint))
        save_checkpoint(out, arrays, manifest)
    except (CheckpointError, OSError) as e:
        typer.echo(f"{checkpoint}: {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Wrote {out} ({manifest.weights.num_bytes():,} bytes of weights).")
