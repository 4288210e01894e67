"""What one training of the study of levers found. Kept as JSON, one file for each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core_model.config import Settings
from simulations.levers.plan import LeverCell
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.result import COUNTS


class LeverResult(Settings):
    """A detector on people it never saw. The threshold came with it: the new site has no labels."""

    name: str
    f1_new_people: float  # at the place of training
    f1_new_site: float
    auc_new_site: float
    counts: COUNTS  # (people, AUs, [TP, FP, FN]) at the new site
    features: ProbeResult  # how well a converged linear probe knows people at the new site
    logits: ProbeResult  # the same from what the detector says
    equal_error_rate: ScoreResult  # verification by the features; 0.5 is guessing
    seconds: float

    def counts_array(self) -> NDArray[np.int64]:
        """Return the counts at the new site. Shape: (S, A, 3)."""
        return np.array(self.counts, np.int64)


class LeverCellResult(Settings):
    """A training and the cures that were tried on it."""

    cell: LeverCell
    levers: tuple[LeverResult, ...]
    always: float  # F1 at the new site of saying 'always'
    seconds: float
