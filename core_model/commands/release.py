"""omote-model export and key: weights for other programs, and released models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from core_model.checkpoint import CheckpointError, load_checkpoint
from core_model.evaluation.thresholds import ThresholdPolicy


def export_weights(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of Omote (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    format_: Annotated[
        Literal["mae", "onnx"],
        typer.Option("--format", help="mae: keys of the official MAE and FMAE. onnx: a release."),
    ] = "mae",
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Of onnx.")] = "fp32",
    purpose: Annotated[
        str | None, typer.Option(help="What the release is for, in a sentence. onnx needs it.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Model card, Markdown. onnx needs it.")] = None,
    prohibited: Annotated[
        list[str] | None, typer.Option(help="A prohibited use, beside the usual ones; repeat.")
    ] = None,
    crop: Annotated[
        Literal["aligned5", "box5"], typer.Option(help="How the faces trained on were cut out.")
    ] = "aligned5",
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Labelled recordings of people neither trained nor tested on: they choose "
            "thresholds and temperature, and show what the precision costs."
        ),
    ] = None,
    threshold: Annotated[
        ThresholdPolicy, typer.Option(help="How validation people choose.")
    ] = "val_swept_common",
    calibration: Annotated[
        Path | None, typer.Option(help="Recordings whose crops fix the ranges of int8.")
    ] = None,
    max_f1_loss: Annotated[
        float, typer.Option(help="Most that macro F1 may fall by the precision.")
    ] = 0.01,
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs; see: omote-model key.")
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Release without a name.")] = False,
) -> None:
    """Write weights for other programs (mae), or a released model to be used (onnx).

    A release holds its card, purpose, prohibited uses, licence, crop recipe and thresholds.
    """
    if format_ == "mae":
        _export_mae(checkpoint, out)
        return
    if purpose is None or card is None:
        _fail("a release needs --purpose TEXT and --card FILE: what it is for, and what it is")
    if key is None and not unsigned:
        _fail("a release is signed: --key FILE (omote-model key makes one), or --unsigned")
    from core_model.release.build import ExportRefusedError, Order, build  # torch
    from core_model.release.card import PROHIBITED_USES
    from core_model.release.model_file import write_model
    from core_model.release.signature import SignatureError

    try:
        order = Order(
            checkpoint=checkpoint,
            precision=precision,
            purpose=purpose,
            card=card.read_text("utf-8"),
            recipe=crop,
            prohibited_uses=(*PROHIBITED_USES, *(prohibited or ())),
            validation=validation,
            calibration=calibration,
            threshold_policy=threshold,
            max_f1_loss=max_f1_loss,
        )
        content, release = build(order, typer.echo)
        write_model(out, content, key)
    except (CheckpointError, ExportRefusedError, SignatureError, ValueError, OSError) as e:
        _fail(str(e))
    typer.echo(f"Wrote {out}: {len(content):,} bytes, {precision}, opset {release.opset}.")
    typer.echo(f"licence: {release.licence}")
    if key is not None:
        typer.echo(f"Signed: {out}.sig. Hand both out, and your public key beside them.")
    typer.echo(f"Next: omote-model predict INPUT --model {out}")


def key(
    name: Annotated[str, typer.Argument(help="Who signs, such as lab.example/models.")],
    out: Annotated[Path, typer.Argument(help="File for the private key; keep it to yourself.")],
) -> None:
    """Make a key to sign released models with; print the public half, to be handed out."""
    from core_model.release.signature import SignatureError, new_key

    try:
        typer.echo(new_key(name, out).text)
    except SignatureError as e:
        _fail(str(e))


def _export_mae(checkpoint: Path, out: Path) -> None:
    from core_model.export import write_mae
    from core_model.mae_layout import LayoutError

    try:
        arrays, manifest = load_checkpoint(checkpoint)
        number = write_mae(out, arrays, manifest)
    except (CheckpointError, LayoutError, OSError) as e:
        _fail(str(e))
    typer.echo(f"Wrote {out}: {number} weights in the layout of mae.")
    typer.echo(f"licence: {manifest.licence_line()}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
