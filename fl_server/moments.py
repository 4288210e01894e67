"""What the server's optimiser remembers from round to round, on disk beside the models."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core_model.durable import put_in_place
from core_model.schema import Arrays
from fl_server.errors import ServerError


def save_moments(folder: Path, number: int, moments: Arrays) -> None:
    """Write the moments after round ``number``; call it before the round counts as finished."""
    if not moments:
        return
    path = _path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    save_file(moments, draft)
    put_in_place(draft, path)


def load_moments(folder: Path, number: int) -> Arrays:
    """Return the moments after round ``number``.

    Raises:
        ServerError: They are missing or damaged, so the run cannot go on as if nothing had
            happened.
    """
    path = _path(folder, number)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as e:
        raise ServerError(
            f"{path}: the momentum of round {number} cannot be read; restore the file from a "
            "backup, or go on in a new output folder from that round's checkpoint"
        ) from e


def forget_moments(folder: Path, number: int) -> None:
    """Delete the moments of a round that is past."""
    _path(folder, number).unlink(missing_ok=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"momentum-{number:04d}.safetensors"
