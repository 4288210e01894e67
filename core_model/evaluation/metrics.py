"""How well occurrence of AUs is found: F1 per AU, macro F1, intervals by subject. No torch.

Shapes: N = frames, A = action units. ``known`` is 1 where a label is known; the rest is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities and labels of some frames.

    Shapes: ``probabilities``, ``aus``, ``known`` (N, A); ``subjects`` (N,), any index of people.
    """

    action_units: tuple[int, ...]
    probabilities: Floats
    aus: Floats
    known: Floats
    subjects: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """A value and its interval of 95 %."""

    value: float
    low: float
    high: float


def f1_from_counts(counts: NDArray[np.int64]) -> Floats:
    """Return F1 = 2 TP / (2 TP + FP + FN), nan where that is 0 / 0. Shape: (..., 3) -> (...)."""
    tp, fp, fn = counts[..., 0], counts[..., 1], counts[..., 2]
    total = 2 * tp + fp + fn
    return np.divide(2 * tp, total, out=np.full(total.shape, np.nan), where=total > 0)


def counts_by_subject(p: Predictions, thresholds: Floats) -> NDArray[np.int64]:
    """Count true positives, false positives and false negatives of each subject and AU.

    Args:
        p: The predictions.
        thresholds: One for each AU. Shape: (A,).

    Returns:
        Shape: (subjects, A, 3), subjects in the order of ``np.unique``.
    """
    found, occurs, known = p.probabilities >= thresholds, p.aus > 0.5, p.known > 0.5
    each = np.stack([found & occurs, found & ~occurs, ~found & occurs], axis=-1) & known[..., None]
    people, index = np.unique(p.subjects, return_inverse=True)
    counts = np.zeros((len(people), *each.shape[1:]), np.int64)
    np.add.at(counts, index, each)
    return counts


def f1_scores(
    p: Predictions, thresholds: Floats, *, seed: int = 0, resamples: int = 1000
) -> tuple[dict[int, Score], Score]:
    """Return F1 of each AU and their macro mean, with intervals from a bootstrap over subjects.

    Frames of one person are alike, so people are drawn, not frames (percentile bootstrap). AUs
    without a single positive label are left out.
    """
    counts = counts_by_subject(p, thresholds)
    values = f1_from_counts(counts.sum(axis=0))
    draws = np.random.default_rng(seed).integers(0, len(counts), (resamples, len(counts)))
    drawn = np.stack([f1_from_counts(counts[d].sum(axis=0)) for d in draws])  # (resamples, A)
    has_positives = ((p.aus > 0.5) & (p.known > 0.5)).any(axis=0)
    kept = np.flatnonzero(has_positives)
    if not len(kept):
        raise ValueError("no action unit has a positive label: there is nothing to score")
    per_au = {p.action_units[a]: _score(values[a], drawn[:, a]) for a in kept}
    macro = _score(float(values[kept].mean()), np.nanmean(drawn[:, kept], axis=1))
    return per_au, macro


def best_common_threshold(p: Predictions) -> float:
    """Return the one threshold, 0.05 to 0.95, of best macro F1. For validation people only."""
    candidates = np.arange(0.05, 0.96, 0.05)
    width = len(p.action_units)
    scores = [
        np.nanmean(f1_from_counts(counts_by_subject(p, np.full(width, t)).sum(axis=0)))
        for t in candidates
    ]
    return float(candidates[int(np.argmax(scores))])


def _score(value: float, drawn: Floats) -> Score:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Score(float(value), float(low), float(high))
