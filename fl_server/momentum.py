"""Momentum of the server over rounds: sites that each take few steps learn as fast as one place.

The mean change of a round is a gradient for the server (FedAvgM: Hsu et al., arXiv 1909.06335),
with Nesterov's look ahead (as the outer optimiser of DiLoCo: Douillard et al., arXiv 2311.08105).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core_model.schema import Arrays
from fl_server.errors import ServerError


def advance(
    old: Arrays, mean: Arrays, velocity: Arrays, *, momentum: float, learning_rate: float
) -> tuple[Arrays, Arrays]:
    """Return the new weights and the new velocity.

    A value that no site changed keeps both to the bit: rows of AUs that nobody labelled in this
    round do not drift. With momentum 0 and rate 1 the new weights are the mean itself.

    Args:
        old: Weights before the round.
        mean: What the sites came to in the mean.
        velocity: Of the rounds before; empty in the first round of a stage.
        momentum: Share of the velocity that is kept, 0 to 1.
        learning_rate: Share of the step that is taken.
    """
    if not momentum and learning_rate == 1:
        return dict(mean), {}
    weights: Arrays = {}
    speed: Arrays = {}
    for name, target in mean.items():
        change = target - old[name]
        before = velocity.get(name, np.zeros_like(change))
        moved = change != 0
        speed[name] = np.where(moved, momentum * before + change, before).astype(np.float32)
        step = np.where(moved, change + momentum * speed[name], 0)
        weights[name] = (old[name] + learning_rate * step).astype(np.float32)
    return weights, speed


def save_velocity(folder: Path, number: int, velocity: Arrays) -> None:
    """Write the velocity after round ``number``; call it before the round counts as finished."""
    if not velocity:
        return
    path = _path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    save_file(velocity, draft)
    draft.replace(path)


def load_velocity(folder: Path, number: int) -> Arrays:
    """Return the velocity after round ``number``.

    Raises:
        ServerError: It is missing or damaged, so the run cannot go on as if nothing had happened.
    """
    path = _path(folder, number)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as e:
        raise ServerError(
            f"{path}: the momentum of round {number} cannot be read; restore the file from a "
            "backup, or go on in a new output folder from that round's checkpoint"
        ) from e


def forget_velocity(folder: Path, number: int) -> None:
    """Delete the velocity of a round that is past."""
    _path(folder, number).unlink(missing_ok=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"momentum-{number:04d}.safetensors"
