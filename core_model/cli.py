"""omote-model: make and look at model weights. Thin: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.action_units import NAMES, parse_aus
from core_model.checkpoint import CheckpointError, CheckpointManifest, load_checkpoint
from core_model.checkpoint import save_checkpoint as save
from core_model.commands.adapt_site import adapt_site
from core_model.commands.adapters import adapt, merge
from core_model.commands.audit import audit, vouch
from core_model.commands.drift import drift
from core_model.commands.evaluate import cross, evaluate
from core_model.commands.exchange import import_weights
from core_model.commands.identity import identity
from core_model.commands.missing import ExtrasGroup
from core_model.commands.predict import predict
from core_model.commands.public_head import public_head
from core_model.commands.recipes import recipe, train
from core_model.commands.release import export_weights, key
from core_model.commands.serve import serve
from core_model.commands.zoo import zoo
from core_model.config import Size, encoder_config
from core_model.protocol.messages import digest

app = typer.Typer(
    cls=ExtrasGroup, no_args_is_help=True, help="Make, release and use model weights."
)
app.command("import")(import_weights)
app.command("export")(export_weights)
app.command()(adapt)
app.command()(merge)
app.command()(public_head)
app.command()(key)
app.command()(predict)
app.command()(serve)
app.command()(drift)
app.command()(recipe)
app.command()(train)
app.command()(evaluate)
app.command("adapt-site")(adapt_site)
app.command()(cross)
app.command()(identity)
app.command()(zoo)
app.command()(audit)
app.command()(vouch)


@app.command()
def init(
    out: Annotated[Path, typer.Argument(help="File to write, such as initial.safetensors.")],
    size: Annotated[Size, typer.Option(help="Size of the encoder.")] = "tiny",
    image_size: Annotated[int | None, typer.Option(help="Pixels a side; else the size's.")] = None,
    aus: Annotated[str, typer.Option(help="AUs of the head: 1,2,4 or bp4d.")] = "1,2,4,6,12",
    seed: Annotated[int, typer.Option(help="Of the fresh weights.")] = 0,
) -> None:
    """Write fresh weights that a federation can start from."""
    from core_model.nn.initial import initial_weights  # torch takes a second: not for --help

    try:
        action_units = parse_aus(aus)
        encoder = encoder_config(size, image_size)
        arrays, schema = initial_weights(encoder, action_units, seed)
        manifest = CheckpointManifest(
            digest=digest(arrays), weights=schema, encoder=encoder, action_units=action_units
        )
        save(out, arrays, manifest)
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Wrote {out} ({schema.num_bytes():,} bytes of weights) and its manifest.")
    typer.echo("Next: name it as 'initial' in federation.toml; see: omote-server check --help")


@app.command()
def show(
    checkpoint: Annotated[
        Path, typer.Argument(help="Weights in safetensors, with their manifest.")
    ],
) -> None:
    """Check a checkpoint and show what it is."""
    try:
        arrays, manifest = load_checkpoint(checkpoint, allow_adapted=True)
    except CheckpointError as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    encoder = manifest.encoder
    typer.echo(f"weights  {len(arrays)} arrays, {manifest.weights.num_bytes():,} bytes, intact")
    typer.echo(f"digest   {manifest.digest}")
    typer.echo(f"encoder  dim {encoder.embed_dim}, depth {encoder.depth}, {encoder.image_size} px")
    typer.echo(f"licence  {manifest.licence_line()}")
    typer.echo(f"from     run {manifest.run_id or '(none)'}, round {manifest.round}")
    if source := manifest.source:
        typer.echo(f"source   {source.kind} file with SHA-256 {source.digest}")
        typer.echo(f"dropped  {', '.join(source.dropped) or 'nothing'}")
    if done := manifest.adaptation:
        where = "may leave it" if done.may_leave_site else "stays there"
        typer.echo(f"adapted  {done.config.trained}, to one site without labels; {where}")
    aus = ", ".join(f"{au} {NAMES[au]}" for au in manifest.action_units)
    typer.echo(f"AUs      {aus or 'none: an encoder alone'}")
