"""Whether one detector is better than another on the same people, or was lucky. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core_model.evaluation.bootstrap import RESAMPLES, Counts, Floats, draw_people
from core_model.evaluation.metrics import Predictions, Score, counts_by_subject, f1_from_counts

SWAPS = 4000


@dataclass(frozen=True)
class Comparison:
    """Macro F1 of the second minus the first, by the same draws of people, and its p value.

    The p value is of a permutation test: if the two were alike, exchanging their answers for any of
    the people would change nothing. Two-sided.
    """

    difference: Score
    p_value: float
    num_people: int


def compare(
    first: Predictions,
    first_thresholds: Floats,
    second: Predictions,
    second_thresholds: Floats,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two detectors on the same frames.

    Raises:
        ValueError: The frames, labels or AUs differ, or no AU has a positive label.
    """
    for name in ("action_units", "aus", "known", "subjects"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ValueError(f"expected two predictions of the same frames; their {name} differ")
    return compare_counts(
        counts_by_subject(first, first_thresholds),
        counts_by_subject(second, second_thresholds),
        seed=seed,
        resamples=resamples,
    )


def compare_counts(
    first: Counts, second: Counts, *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two detectors by their counts on the same people.

    Shapes: (S, A, 3) each: true positives, false positives and false negatives.

    Raises:
        ValueError: No AU has a positive label.
    """
    kept = first[..., [0, 2]].any(axis=(0, 2))  # found or missed: it occurs
    if not kept.any():
        raise ValueError("no action unit has a positive label: there is nothing to compare")
    a, b = first[:, kept], second[:, kept]
    weights = draw_people(len(a), resamples, seed)
    value = float(_macro(b.sum(axis=0)) - _macro(a.sum(axis=0)))
    drawn = _macro(np.tensordot(weights, b, axes=1)) - _macro(np.tensordot(weights, a, axes=1))
    return Comparison(Score.of(value, drawn, len(a)), _p_value(a, b, abs(value), seed), len(a))


def _p_value(a: Counts, b: Counts, observed: float, seed: int) -> float:
    chance = np.random.default_rng([seed, 1])
    swapped = chance.integers(0, 2, (SWAPS, len(a)))
    change = np.tensordot(swapped, b - a, axes=1)
    differences = _macro(b.sum(axis=0) - change) - _macro(a.sum(axis=0) + change)
    as_large = np.abs(differences) >= observed - 1e-12
    return float((1 + as_large.sum()) / (1 + SWAPS))


def _macro(counts: Counts) -> Floats:
    """Shape: (..., A, 3) -> (...)."""
    return np.nanmean(f1_from_counts(counts), axis=-1)
