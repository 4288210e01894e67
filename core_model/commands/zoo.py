"""omote-model zoo: the model that comes with Omote, for anyone to try."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from core_model.release.card import parse_card
from core_model.release.onnx_scan import metadata_of

ZOO = Path(__file__).parent.parent / "zoo"
DIGESTS = ZOO / "SHA256SUMS"


def zoo(
    name: Annotated[str | None, typer.Argument(help="A model; none lists them.")] = None,
    out: Annotated[Path | None, typer.Option(help="Copy the model to this file.")] = None,
) -> None:
    """List the models that come with Omote, show the card of one, or copy it out.

    They are trained on generated faces only, so anyone may use them. The package vouches for
    them by digest; no key signed them, so omote-model predict wants --unsigned.
    """
    if name is None:
        for model in sorted(models()):
            typer.echo(f"{model:12} {(ZOO / f'{model}.onnx').stat().st_size / 1e6:.1f} MB")
        return
    if name not in models():
        typer.echo(f"no model {name!r}; there are: {', '.join(sorted(models()))}", err=True)
        raise typer.Exit(1)
    path = ZOO / f"{name}.onnx"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != models()[name]:
        typer.echo(f"{path} is not the file that came with Omote; install it anew", err=True)
        raise typer.Exit(4)
    card = parse_card(metadata_of(content))
    typer.echo(card.card)
    typer.echo(f"AUs: {', '.join(map(str, card.action_units))}. SHA-256: {models()[name]}")
    if out is not None:
        out.write_bytes(content)  # what was checked, not what lies there now
        typer.echo(f"Wrote {out}. Next: omote-model predict INPUT --model {out} --unsigned")


def models() -> dict[str, str]:
    """Return the SHA-256 of each model that comes with Omote, by its name."""
    lines = DIGESTS.read_text(encoding="utf-8").splitlines()
    return {name.removesuffix(".onnx"): digest for digest, name in map(str.split, lines)}
