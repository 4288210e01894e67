"""omote-server release: a model with a privacy card, or the figure that forbids it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_REFUSED = 4
Results = Annotated[Path | None, typer.Option(help="Vouched for by: omote-model vouch.")]


def release_model(
    folder: Annotated[Path, typer.Argument(help="Of the server.")],
    model: Annotated[Path, typer.Argument(help="From: omote-model export --format onnx.")],
    policy: Annotated[Path, typer.Option(help="release.toml: the limits; see docs/release.md.")],
    key: Annotated[Path, typer.Option(help="Private key that signs; see: omote-model key.")],
    out: Annotated[Path, typer.Option(help="File for the released model.")],
    audit: Results = None,
    identity: Results = None,
    attacks: Results = None,
    lang: Annotated[str, typer.Option(help="Of what is printed: en or ja.")] = "en",
) -> None:
    """Write the last model of a run with a privacy card inside, if every figure is good enough.

    Needs results that a trusted auditor vouches for: audit.json (omote-model audit), identity.json
    (omote-model identity) and attacks.json (omote-sim attack). Exit code 4: a figure is missing or
    misses its limit in the policy; it is named, and nothing is written.
    """
    from consent.errors import ConsentError
    from core_model.checkpoint import CheckpointError
    from core_model.release.model_file import ModelFileError
    from core_model.release.signature import SignatureError
    from core_model.settings_file import SettingsError
    from fl_server.errors import ServerError
    from fl_server.folder import ServerFolder
    from fl_server.release import Files, release
    from fl_server.release_gate import ReleaseRefusedError

    if lang not in ("en", "ja"):
        raise typer.BadParameter("expected en or ja", param_hint="--lang")
    files = Files(model, policy, audit, identity, attacks)
    try:
        facts = release(ServerFolder(folder.resolve()), files, out, key)
    except ReleaseRefusedError as e:
        typer.echo(f"refused  {e}", err=True)
        raise typer.Exit(EXIT_REFUSED) from e
    except (
        ServerError, ConsentError, SettingsError, CheckpointError, ModelFileError, SignatureError,
        OSError,
    ) as e:  # fmt: skip
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    typer.echo(facts.text["ja" if lang == "ja" else "en"])
    typer.echo(f"\nWrote {out} and {out}.sig.")
