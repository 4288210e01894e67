"""Does a model see what it was fitted on? Histograms against histograms; no face is kept.

The release's card holds histograms over its validation people: of each AU's probability, and of
brightness and contrast of crops. ``Seen`` gathers the same in use. They are compared by the
population stability index (PSI), whose usual reading is: below 0.1 alike, above 0.25 another
population. It tells that something changed, not what, and not whether the model is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core_model.data.face import Image
from core_model.release.card import NUM_BINS, Statistics

ALIKE, OTHER = 0.1, 0.25
MIN_FACES = 200  # fewer say nothing
TOP_BRIGHTNESS, TOP_CONTRAST = 255.0, 128.0
Floats = NDArray[np.floating[Any]]


@dataclass
class Seen:
    """Counts of what a model saw and said."""

    action_units: tuple[int, ...]
    faces: int = 0
    probabilities: dict[int, list[int]] = field(default_factory=dict)
    brightness: list[int] = field(default_factory=lambda: [0] * NUM_BINS)
    contrast: list[int] = field(default_factory=lambda: [0] * NUM_BINS)

    def __post_init__(self) -> None:
        for au in self.action_units:
            self.probabilities.setdefault(au, [0] * NUM_BINS)

    @classmethod
    def of(cls, statistics: Statistics) -> Seen:
        """Go on counting from ``statistics``."""
        counts = {au: list(c) for au, c in statistics.probabilities.items()}
        return cls(
            tuple(counts),
            sum(statistics.brightness),
            counts,
            list(statistics.brightness),
            list(statistics.contrast),
        )

    def add(self, probabilities: Floats, brightness: float, contrast: float) -> None:
        """Count one face. Shape of probabilities: (A,)."""
        self.faces += 1
        for au, p in zip(self.action_units, probabilities, strict=True):
            self.probabilities[au][_bin(float(p), 1.0)] += 1
        self.brightness[_bin(brightness, TOP_BRIGHTNESS)] += 1
        self.contrast[_bin(contrast, TOP_CONTRAST)] += 1

    def statistics(self) -> Statistics:
        """Return the counts as they stand in files."""
        return Statistics(
            probabilities={au: tuple(counts) for au, counts in self.probabilities.items()},
            brightness=tuple(self.brightness),
            contrast=tuple(self.contrast),
        )


@dataclass(frozen=True)
class Drift:
    """How far one histogram has moved."""

    what: str
    index: float  # PSI
    reading: str


def light_and_contrast(crop: Image) -> tuple[float, float]:
    """Return mean and deviation of a crop's grey values. Shape: (S, S, 3)."""
    mean, deviation = cv2.meanStdDev(np.asarray(crop.mean(axis=2)))
    return float(mean[0, 0]), float(deviation[0, 0])


def compare(before: Statistics, now: Sequence[Statistics]) -> list[Drift]:
    """Compare what was seen in use with what a model was fitted on, the furthest first.

    Raises:
        ValueError: Too few faces were seen, or they were read by a model of other AUs.
    """
    seen = sum(sum(s.brightness) for s in now)
    if seen < MIN_FACES:
        raise ValueError(f"{seen} faces say nothing about drift; at least {MIN_FACES} are needed")
    if any(set(s.probabilities) != set(before.probabilities) for s in now):
        raise ValueError("these results are of a model with other AUs")
    pairs = {
        f"AU{au}": (counts, [s.probabilities[au] for s in now])
        for au, counts in before.probabilities.items()
    }
    pairs["brightness"] = (before.brightness, [s.brightness for s in now])
    pairs["contrast"] = (before.contrast, [s.contrast for s in now])
    found = []
    for what, (old, new) in pairs.items():
        index = stability_index(old, np.sum(new, axis=0).tolist())
        reading = "alike" if index < ALIKE else "moved" if index < OTHER else "ANOTHER POPULATION"
        found.append(Drift(what, index, reading))
    return sorted(found, key=lambda d: -d.index)


def stability_index(old: Sequence[int], new: Sequence[int]) -> float:
    """Return the population stability index of two histograms; half a count is added to each bin.

    It is 0 for equal shares, symmetric, and never negative.
    """
    a, b = np.array(old) + 0.5, np.array(new) + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def _bin(value: float, top: float) -> int:
    share = value / top if value == value else 0.0  # not a number: an AU that cannot be told
    return min(max(int(share * NUM_BINS), 0), NUM_BINS - 1)
