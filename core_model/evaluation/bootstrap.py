"""Intervals by drawing people, not frames: frames of one person are alike. No torch.

Shapes: R = resamples, S = subjects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Counts = NDArray[np.int64]

RESAMPLES = 1000


def draw_people(num_people: int, resamples: int = RESAMPLES, seed: int = 0) -> Counts:
    """Draw people with replacement; return how often each was drawn. Shape: (R, S)."""
    draws = np.random.default_rng(seed).integers(0, num_people, (resamples, num_people))
    weights = np.zeros((resamples, num_people), np.int64)
    np.add.at(weights, (np.arange(resamples)[:, None], draws), 1)
    return weights


def interval(drawn: Floats, num_people: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a statistic from its values on drawn people; nan where it has none.

    The percentiles are widened for few people as Student's t widens the normal (Hesterberg, 2015,
    'expanded percentile'): with nine people, as in a partition of DISFA, plain percentiles hold the
    truth in 86 of 100 cases instead of 95, these in 92 (docs/evaluation.md).

    Args:
        drawn: The statistic on each draw; nan where it is undefined. Shape: (R,).
        num_people: People at hand.
        level: Nominal coverage.
    """
    from scipy.special import ndtr, stdtrit  # half a second: not for --help

    usable = drawn[np.isfinite(drawn)]
    if num_people < 2 or len(usable) < len(drawn) / 2:
        return float("nan"), float("nan")
    widening = np.sqrt(num_people / (num_people - 1))
    tail = ndtr(-widening * stdtrit(num_people - 1, (1 + level) / 2))
    low, high = np.quantile(usable, [tail, 1 - tail])
    return float(low), float(high)
