"""Frames of chosen recordings as tensors in memory.

Shapes: N = frames, S = image side in pixels, A = action units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_model.data.labels import read_labels
from core_model.data.recordings import Recording


class Batch(NamedTuple):
    """Some examples. Shapes: images (N, 3, S, S) in [0, 1]; aus, known (N, A); identities (N,)."""

    images: Tensor
    aus: Tensor
    known: Tensor
    identities: Tensor


class FrameDataset:
    """Faces of recordings; an identity is the index of a subject in ``subjects``.

    With ``action_units``, only labelled frames of labelled recordings are taken; without, all
    frames of all recordings. Images are kept as bytes: 12 KiB each at 64 pixels.

    Raises:
        ValueError: No frame is left, or an image cannot be read.
    """

    def __init__(
        self, recordings: Sequence[Recording], image_size: int, action_units: tuple[int, ...] = ()
    ) -> None:
        chosen = [r for r in recordings if r.labels is not None or not action_units]
        self.subjects = tuple(sorted({r.subject_id for r in chosen}))
        self.action_units = action_units
        images, aus, known, self.recording_ids = [], [], [], []
        identities: list[int] = []
        for recording in chosen:
            paths, occurs, mask = _examples(recording, action_units)
            images += [_read(path, image_size) for path in paths]
            aus.append(occurs)
            known.append(mask)
            identities += [self.subjects.index(recording.subject_id)] * len(paths)
            self.recording_ids += [recording.recording_id] * len(paths)
        if not images:
            raise ValueError("no frames: are the recordings labelled, and do the folders hold PNG?")
        self._images = torch.from_numpy(np.stack(images))  # (N, 3, S, S), bytes
        self.aus = torch.from_numpy(np.concatenate(aus))
        self.known = torch.from_numpy(np.concatenate(known))
        self.identities = torch.tensor(identities)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: Tensor) -> Batch:
        """Return the examples at ``indices``. Shape of ``indices``: (N,)."""
        return Batch(
            self._images[indices].float() / 255,
            self.aus[indices],
            self.known[indices],
            self.identities[indices],
        )

    def labelled_frames(self) -> dict[int, int]:
        """Count the frames with a known label for each AU."""
        counts = self.known.sum(dim=0).int().tolist()
        return dict(zip(self.action_units, counts, strict=True))

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the examples once in random order, in batches."""
        for indices in torch.randperm(len(self), generator=generator).split(batch_size):
            yield self[indices]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield the examples once as they lie on disk, in batches."""
        for indices in torch.arange(len(self)).split(batch_size):
            yield self[indices]


def _examples(
    recording: Recording, action_units: tuple[int, ...]
) -> tuple[list[Path], NDArray[np.float32], NDArray[np.float32]]:
    """Return image paths, occurrence and mask. Shapes: (T,), (T, A), (T, A)."""
    if not action_units or recording.labels is None:
        paths = recording.frame_paths()
        nothing = np.zeros((len(paths), len(action_units)), np.float32)
        return paths, nothing, nothing
    labels = read_labels(recording.labels)
    numbers = labels.frames.tolist()
    used = np.array([recording.may_use(number) for number in numbers], bool)
    paths = [recording.frames / f"{n:06d}.png" for n, u in zip(numbers, used, strict=True) if u]
    occurs, known = labels.occurrence(action_units)
    return paths, occurs[used], known[used]


def _read(path: Path, image_size: int) -> NDArray[np.uint8]:
    """Read one face. Shape: (3, S, S), RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path.name}: not an image that can be read")
    if image.shape[:2] != (image_size, image_size):
        image = cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.uint8)
