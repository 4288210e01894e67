"""How well occurrence of AUs is found: F1 per AU, macro F1, intervals by subject. No torch.

Shapes: N = frames, A = action units. ``known`` is 1 where a label is known; the rest is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_model.evaluation.bootstrap import RESAMPLES, Floats, draw_people, interval


@dataclass(frozen=True)
class Score:
    """A value and its interval of 95 %. Ends are nan where there is none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: Floats, num_people: int) -> Score:
        """Return ``value`` with the interval of its values on drawn people."""
        return cls(float(value), *interval(drawn, num_people))


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

    def only(self, action_units: tuple[int, ...]) -> Predictions:
        """Return the columns of some AUs.

        Raises:
            ValueError: One is not among them.
        """
        columns = [self.action_units.index(au) for au in action_units]
        return Predictions(
            action_units,
            self.probabilities[:, columns],
            self.aus[:, columns],
            self.known[:, columns],
            self.subjects,
        )

    def scorable(self) -> tuple[int, ...]:
        """Return the AUs with a known positive and a known negative label."""
        known, occurs = self.known > 0.5, self.aus > 0.5
        positives, negatives = (known & occurs).sum(axis=0), (known & ~occurs).sum(axis=0)
        kept = np.flatnonzero((positives > 0) & (negatives > 0)).tolist()
        return tuple(self.action_units[a] for a in kept)


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
    p: Predictions, thresholds: Floats, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[dict[int, Score], Score]:
    """Return F1 of each AU and their macro mean, with intervals from a bootstrap over subjects.

    AUs without a single positive label are left out.
    """
    counts = counts_by_subject(p, thresholds)
    values = f1_from_counts(counts.sum(axis=0))
    weights = draw_people(len(counts), resamples, seed)
    drawn = f1_from_counts(np.tensordot(weights, counts, axes=1))  # (resamples, A)
    has_positives = ((p.aus > 0.5) & (p.known > 0.5)).any(axis=0)
    kept = np.flatnonzero(has_positives)
    if not len(kept):
        raise ValueError("no action unit has a positive label: there is nothing to score")
    per_au = {p.action_units[a]: Score.of(values[a], drawn[:, a], len(counts)) for a in kept}
    macro = Score.of(values[kept].mean(), np.nanmean(drawn[:, kept], axis=1), len(counts))
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
