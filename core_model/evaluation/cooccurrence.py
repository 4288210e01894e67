"""What other AUs in the same face do to an AU: where a detector leans on company. No torch.

Shapes: N = frames, A = action units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.metrics import Predictions, f1_from_counts

Bools = NDArray[np.bool_]

MOST_OTHERS = 4  # four and more are counted together
MIN_FRAMES = 20  # fewer say nothing


@dataclass(frozen=True)
class CoOccurrence:
    """Rates by company. nan where fewer than ``MIN_FRAMES`` frames tell.

    ``false_alarms[a, b]``: share of frames without AU a, but with AU b, in which a was found; on
    the diagonal, of all frames without a. ``hits[a, b]``: the same of frames with both a and b, and
    of all frames with a. ``f1_by_others[k]``: macro F1 over frames with k other AUs.
    """

    action_units: tuple[int, ...]
    false_alarms: Floats  # (A, A)
    hits: Floats  # (A, A)
    f1_by_others: Floats  # (MOST_OTHERS + 1,)
    frames_by_others: Floats  # (MOST_OTHERS + 1,), the mean over AUs


def co_occurrence(p: Predictions, thresholds: Floats) -> CoOccurrence:
    """Return how hits and false alarms depend on the other AUs in the frame."""
    found = p.probabilities >= thresholds
    known = p.known > 0.5
    present, absent = known & (p.aus > 0.5), known & (p.aus < 0.5)
    return CoOccurrence(
        p.action_units,
        _rate_given(found, absent, present),
        _rate_given(found, present, present),
        *_by_others(found, present, absent),
    )


def _rate_given(found: Bools, among: Bools, company: Bools) -> Floats:
    """Return the share found of the frames ``among`` in which another AU is. Shape: (A, A)."""
    hit = among & found
    frames = among.T.astype(float) @ company.astype(float)  # (A, A)
    hits = hit.T.astype(float) @ company.astype(float)
    np.fill_diagonal(frames, among.sum(axis=0))
    np.fill_diagonal(hits, hit.sum(axis=0))
    return np.divide(hits, frames, out=np.full(frames.shape, np.nan), where=frames >= MIN_FRAMES)


def _by_others(found: Bools, present: Bools, absent: Bools) -> tuple[Floats, Floats]:
    """Return macro F1 and the mean number of frames by the number of other AUs."""
    others = np.minimum(present.sum(axis=1, keepdims=True) - present, MOST_OTHERS)  # (N, A)
    scores, frames = [], []
    for k in range(MOST_OTHERS + 1):
        here = others == k
        counts = np.stack(
            [
                (here & present & found).sum(axis=0),
                (here & absent & found).sum(axis=0),
                (here & present & ~found).sum(axis=0),
            ],
            axis=-1,
        )
        enough = (here & present).sum(axis=0) >= MIN_FRAMES
        f1 = f1_from_counts(counts)[enough]
        scores.append(f1.mean() if len(f1) else np.nan)
        frames.append((here & (present | absent)).sum(axis=0).mean())
    return np.array(scores), np.array(frames)
