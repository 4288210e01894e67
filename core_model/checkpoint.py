"""Model weights on disk: safetensors, and a JSON manifest that says what they are. No pickle.

``model.safetensors`` holds the weights, ``model.safetensors.json`` the manifest with their digest.
Each is written whole or not at all, the manifest last, and both are on the disk when that returns;
they must agree when read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core_model.adaptation import Adaptation
from core_model.config import EncoderConfig, Settings
from core_model.durable import put_in_place
from core_model.protocol.messages import digest
from core_model.schema import Arrays, ParameterSchema, SchemaError


class CheckpointError(Exception):
    """A checkpoint is torn, was swapped, or is not one."""


class Source(Settings):
    """The foreign file that weights were imported from."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")  # SHA-256 of the file
    kind: Literal["encoder", "autoencoder", "detector"]
    dropped: tuple[str, ...] = ()  # weights left out, by their foreign names


class CheckpointManifest(Settings):
    """What the weights are and where they come from."""

    format: Literal[1] = 1
    digest: str = Field(pattern="^[0-9a-f]{64}$")  # of names, shapes and bytes
    weights: ParameterSchema
    encoder: EncoderConfig
    action_units: tuple[int, ...]
    licence: str = "Apache-2.0"
    run_id: str | None = None
    round: int = Field(0, ge=0)  # 0: initial weights
    parent: str | None = None  # digest of the weights that these were trained from
    source: Source | None = None  # what the first of its ancestors was imported from
    adaptation: Adaptation | None = None  # to one site, without labels

    def licence_line(self) -> str:
        """Say what the weights may be used for, wherever the model is shown."""
        if "NC" in self.licence.split("-"):
            return f"{self.licence}: not for commercial use; models trained from it carry this on"
        return self.licence


def manifest_path(path: Path) -> Path:
    """Return where the manifest of ``path`` lies."""
    return path.with_name(path.name + ".json")


def save_checkpoint(path: Path, arrays: Arrays, manifest: CheckpointManifest) -> None:
    """Write weights and manifest.

    Raises:
        CheckpointError: The manifest is of other weights.
    """
    if digest(arrays) != manifest.digest:
        raise CheckpointError(f"{path}: the manifest is of other weights")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    save_file(arrays, draft)
    put_in_place(draft, path)
    draft.write_text(manifest.model_dump_json(indent=2) + "\n")
    put_in_place(draft, manifest_path(path))


def load_checkpoint(
    path: Path, *, allow_adapted: bool = False
) -> tuple[Arrays, CheckpointManifest]:
    """Read weights and manifest, and check that they belong together.

    Weights adapted to one site learned from faces whose owners agreed to that site: no federation
    starts from them, nothing trains on from them. ``allow_adapted`` is for looking at them there.

    Raises:
        CheckpointError: One is missing or damaged, or they do not agree. Says which and why.
    """
    try:
        text = manifest_path(path).read_text()
        manifest = CheckpointManifest.model_validate_json(text)
        arrays: Arrays = load_file(path)
    except OSError as e:
        raise CheckpointError(f"{e.filename or path}: cannot be read ({e.strerror})") from e
    except (ValidationError, SafetensorError) as e:
        raise CheckpointError(f"{path}: damaged or not a checkpoint of Omote: {e}") from e
    if (found := digest(arrays)) != manifest.digest:
        raise CheckpointError(
            f"{path}: expected weights {manifest.digest[:12]}, found {found[:12]}; "
            "weights and manifest are of different checkpoints"
        )
    try:
        manifest.weights.check(arrays)
    except SchemaError as e:
        raise CheckpointError(f"{path}: {e}") from e
    if manifest.adaptation is not None and not allow_adapted:
        raise CheckpointError(
            f"{path}: adapted to one site; it stays there and nothing is trained or converted from "
            f"it. Take the weights before adaptation ({(manifest.parent or 'unknown')[:12]})"
        )
    return arrays, manifest
