"""omote-model import: weights from other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.action_units import parse_aus
from core_model.checkpoint import CheckpointError, save_checkpoint


def import_weights(
    file: Annotated[Path, typer.Argument(help="Official MAE or FMAE checkpoint (.pth).")],
    out: Annotated[Path, typer.Argument(help="File to write, such as fmae.safetensors.")],
    aus: Annotated[
        str, typer.Option(help="What the rows of the AU head mean: bp4d, disfa, or 1,2,4.")
    ] = "",
    image_size: Annotated[int | None, typer.Option(help="Pixels a side from now on.")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads, for unusual widths.")] = None,
    with_decoder: Annotated[bool, typer.Option(help="Keep the pretraining decoder.")] = False,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "CC-BY-NC-4.0",
) -> None:
    """Read a checkpoint of MAE or FMAE safely, and write it as a checkpoint of Omote.

    Nothing in the file can run. Heads that name people are dropped.
    """
    from core_model.pretrained import ImportRefusedError, import_mae  # torch: not for --help

    try:
        got = import_mae(
            file,
            action_units=parse_aus(aus) if aus else (),
            image_size=image_size,
            num_heads=heads,
            keep_decoder=with_decoder,
            licence=licence,
        )
        save_checkpoint(out, got.arrays, got.manifest)
    except (ImportRefusedError, CheckpointError, ValueError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Wrote {out} ({got.manifest.weights.num_bytes():,} bytes of weights).")
    typer.echo(f"licence: {got.manifest.licence_line()}")
    for note in got.notes:
        typer.echo(f"note: {note}")
    typer.echo("Next: omote-model show, or name it as 'initial' in federation.toml")
