"""A run that is not over, on disk: weights, optimisers and how far it came. No pickle.

One safetensors file that only its owner can read, written whole or not at all and seen on the disk.
It holds the identity head, so it names people: it belongs where weights lie that never leave.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core_model.config import Purpose, Settings
from core_model.training.long_run import Stepper


class ProgressError(Exception):
    """The file of a run that is not over is damaged, or of another run."""


class Progress(Settings):
    """How far a run came."""

    run: str  # digest of all that decides the result
    purpose: Purpose
    subjects: tuple[str, ...]  # whose data it learned from, or was judged by
    step: int = Field(ge=0)  # taken
    sums: tuple[float, ...] = ()  # of each loss in the epoch, times examples
    num_examples: int = 0  # of the epoch
    scores: tuple[float, ...] = ()  # of each epoch, by people held out; higher is better
    is_over: bool = False  # stopped early


def save_progress(path: Path, progress: Progress, stepper: Stepper) -> None:
    """Write a checkpoint in place of the last one.

    Raises:
        OSError: There is no room; the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(handle)
    try:
        tensors = {n: t.detach().contiguous().cpu() for n, t in _tensors(stepper)}
        save_file(tensors, draft, metadata={"progress": progress.model_dump_json()})
        draft.chmod(0o600)
        _sync(draft)
        draft.replace(path)
    except SafetensorError as e:
        raise OSError(f"{path}: cannot be written: {e}") from e
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def read_progress(path: Path) -> Progress | None:
    """Return how far a run came; None if there is no file.

    Raises:
        ProgressError: It is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as f:
            return Progress.model_validate_json(f.metadata()["progress"])
    except (SafetensorError, ValidationError, KeyError, TypeError) as e:
        raise ProgressError(f"{path} is damaged; delete it to start anew") from e


def load_progress(path: Path, stepper: Stepper) -> None:
    """Bring weights and optimisers to where they were.

    Raises:
        ProgressError: The file is damaged, or of a model of another shape.
    """
    try:
        with safe_open(path, framework="pt") as f:
            held = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
        weights = dict(stepper.model.named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(held[f"weights/{name}"])
        for k, optimiser in enumerate(stepper.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in held.items():
                kind, *place = name.split("/")
                if kind == f"optimiser{k}":
                    state.setdefault(int(place[0]), {})[place[1]] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    except (SafetensorError, KeyError, RuntimeError, ValueError) as e:
        raise ProgressError(f"{path} is damaged, or of another model; delete it") from e


def _tensors(stepper: Stepper) -> Iterator[tuple[str, Tensor]]:
    """Yield everything that must be kept, by name."""
    for name, weight in stepper.model.named_parameters():
        yield f"weights/{name}", weight
    for k, optimiser in enumerate(stepper.optimisers):
        kept: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
        for place, values in kept.items():
            for name, value in values.items():
                yield f"optimiser{k}/{place}/{name}", torch.as_tensor(value)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
