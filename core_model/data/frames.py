"""Frames of chosen recordings as tensors in memory.

Shapes: N = frames, S = image side in pixels, A = action units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_model.data.labels import LabelPolicy, read_labels
from core_model.data.recordings import Recording


class Batch(NamedTuple):
    """Some examples. Shapes: images (N, 3, S, S) in [0, 1]; aus, known (N, A); identities (N,)."""

    images: Tensor
    aus: Tensor
    known: Tensor
    identities: Tensor


class FrameSource(Protocol):
    """Where the face crops of recordings lie: folders of PNG, or a site's encrypted cache."""

    def numbers(self, recording: Recording) -> list[int]:
        """Return the numbers of all frames that there are, in rising order."""

    def read(self, recording: Recording, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield frames by number, in the order asked for. Shape: (H, W, 3), RGB.

        Raises:
            ValueError: One is missing or cannot be read.
        """


class PngFolders:
    """Folders of ``000001.png``, as the standard format has them."""

    def numbers(self, recording: Recording) -> list[int]:
        """Return the numbers of all frames that there are, in rising order."""
        return sorted(int(path.stem) for path in recording.frames.glob("*.png"))

    def read(self, recording: Recording, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield frames by number, in the order asked for. Shape: (H, W, 3), RGB."""
        for number in numbers:
            yield _read_png(recording.frames / f"{number:06d}.png")


class FrameDataset:
    """Faces of recordings; an identity is the index of a subject in ``subjects``.

    With ``action_units``, only labelled frames of labelled recordings are taken; without, all
    frames of all recordings. Images are kept as bytes: 12 KiB each at 64 pixels. With
    ``in_memory`` false they are read when asked for, by as many threads as ask.

    Raises:
        ValueError: No frame is left, or an image cannot be read.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        image_size: int,
        action_units: tuple[int, ...] = (),
        label_policy: LabelPolicy = "mask",
        source: FrameSource | None = None,
        *,
        in_memory: bool = True,
    ) -> None:
        self._source, self._size = source or PngFolders(), image_size
        self._chosen = [r for r in recordings if r.labels is not None or not action_units]
        self.subjects = tuple(sorted({r.subject_id for r in self._chosen}))
        self.action_units = action_units
        aus, known, self.recording_ids = [], [], []
        identities: list[int] = []
        places: list[tuple[int, int]] = []  # of each example: which recording, number of the frame
        for k, recording in enumerate(self._chosen):
            numbers, occurs, mask = _examples(recording, action_units, label_policy, self._source)
            places += [(k, number) for number in numbers]
            aus.append(occurs)
            known.append(mask)
            identities += [self.subjects.index(recording.subject_id)] * len(numbers)
            self.recording_ids += [recording.recording_id] * len(numbers)
        if not places:
            raise ValueError("no frames: are the recordings labelled, and do the folders hold PNG?")
        self._places = np.array(places)  # (N, 2)
        self._images: Tensor | None = None  # (N, 3, S, S), bytes
        self.aus = torch.from_numpy(np.concatenate(aus))
        self.known = torch.from_numpy(np.concatenate(known))
        self.identities = torch.tensor(identities)
        if in_memory:
            self.hold()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def num_bytes(self) -> int:
        """Of all images in memory, held or not."""
        return len(self) * 3 * self._size**2

    def hold(self) -> None:
        """Read all images into memory.

        Raises:
            ValueError: One cannot be read.
        """
        self._images = self._load(torch.arange(len(self)))

    def __getitem__(self, indices: Tensor) -> Batch:
        """Return the examples at ``indices``. Shape of ``indices``: (N,)."""
        batch = self.as_bytes(indices)
        return batch._replace(images=as_floats(batch.images))

    def as_bytes(self, indices: Tensor) -> Batch:
        """Return them with images as bytes, from 0 to 255: a quarter to carry to a device.

        Raises:
            ValueError: A frame that is not in memory cannot be read any more.
        """
        images = self._load(indices) if self._images is None else self._images[indices]
        return Batch(images, self.aus[indices], self.known[indices], self.identities[indices])

    def _load(self, indices: Tensor) -> Tensor:
        """Read examples, each recording opened once. Shape: (N,) -> (N, 3, S, S)."""
        places = self._places[indices.numpy()]
        images = np.empty((len(places), 3, self._size, self._size), np.uint8)
        for k in np.unique(places[:, 0]):
            # By rising number: what lies together on disk is read together.
            rows = np.flatnonzero(places[:, 0] == k)
            rows = rows[np.argsort(places[rows, 1], kind="stable")]
            images[rows] = self._read(self._chosen[k], places[rows, 1].tolist())
        return torch.from_numpy(images)

    def _read(self, recording: Recording, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [_sized(image, self._size) for image in self._source.read(recording, numbers)]

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


def as_floats(images: Tensor) -> Tensor:
    """Return images in [0, 1], from bytes or as they are. Shape: kept."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _examples(
    recording: Recording,
    action_units: tuple[int, ...],
    label_policy: LabelPolicy,
    source: FrameSource,
) -> tuple[list[int], NDArray[np.float32], NDArray[np.float32]]:
    """Return frame numbers, occurrence and mask. Shapes: (T,), (T, A), (T, A)."""
    if not action_units or recording.labels is None:
        there = [n for n in source.numbers(recording) if recording.may_use(n)]
        nothing = np.zeros((len(there), len(action_units)), np.float32)
        return there, nothing, nothing
    labels = read_labels(recording.labels)
    numbers: list[int] = labels.frames.tolist()
    used = np.array([recording.may_use(number) for number in numbers], bool)
    occurs, known = labels.occurrence(action_units, policy=label_policy)
    return [n for n, u in zip(numbers, used, strict=True) if u], occurs[used], known[used]


def _read_png(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path.name}: not an image that can be read")
    return np.asarray(image, np.uint8)


def _sized(image: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Return one face. Shape: (H, W, 3) -> (3, S, S)."""
    if image.shape[:2] != (image_size, image_size):
        image = np.asarray(
            cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.ascontiguousarray(image.transpose(2, 0, 1))
