"""Choose what a release needs beside weights, on people who were not trained on. No torch.

Shapes: N = frames, A = action units.
"""

from __future__ import annotations

import numpy as np

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.metrics import Predictions, counts_by_subject, f1_from_counts
from core_model.release.card import NUM_BINS, Statistics

_NOTHING = 1e-7  # keeps logarithms finite
_GOLDEN = (np.sqrt(5) - 1) / 2


def fit_temperature(logits: Floats, aus: Floats, known: Floats) -> float:
    """Return the temperature of least cross-entropy (Guo et al., arXiv 1706.04599).

    One number for all AUs: it has little to overfit with, and never changes an order.
    Shapes: (N, A) each.

    Raises:
        ValueError: No label is known.
    """
    mine = known > 0.5
    if not mine.any():
        raise ValueError("no known label: there is nothing to fit a temperature to")
    scores, occurs = logits[mine].astype(float), aus[mine].astype(float)

    def loss(log_temperature: float) -> float:
        p = np.clip(sigmoid(scores / np.exp(log_temperature)), _NOTHING, 1 - _NOTHING)
        return float(-np.mean(occurs * np.log(p) + (1 - occurs) * np.log(1 - p)))

    low, high = np.log(0.1), np.log(10.0)
    while high - low > 1e-4:  # golden section: the loss has one valley in 1 / temperature
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def neutral_logits(logits: Floats, aus: Floats, known: Floats, minimum: int = 10) -> Floats | None:
    """Return the mean logits of frames where every AU is known not to occur, or None if too few.

    Shapes: (N, A) each -> (A,).
    """
    neutral = np.flatnonzero(np.all(known > 0.5, axis=1) & np.all(aus < 0.5, axis=1))
    return logits[neutral].mean(axis=0) if len(neutral) >= minimum else None


def f1_by_au(p: Predictions, thresholds: Floats) -> dict[int, float]:
    """Return F1 of each AU that occurs."""
    f1 = f1_from_counts(counts_by_subject(p, thresholds).sum(axis=0))
    occurs = np.any((p.aus > 0.5) & (p.known > 0.5), axis=0).tolist()
    return {au: float(f1[a]) for a, au in enumerate(p.action_units) if occurs[a]}


def statistics_of(
    action_units: tuple[int, ...], probabilities: Floats, brightness: Floats, contrast: Floats
) -> Statistics:
    """Return histograms of what a model saw and said. Shapes: (N, A), (N,), (N,)."""
    return Statistics(
        probabilities={
            au: _histogram(probabilities[:, a], 1.0) for a, au in enumerate(action_units)
        },
        brightness=_histogram(brightness, 255.0),
        contrast=_histogram(contrast, 128.0),
    )


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def _histogram(values: Floats, top: float) -> tuple[int, ...]:
    counts, _ = np.histogram(np.clip(values, 0, top), NUM_BINS, (0, top))
    return tuple(counts.tolist())
