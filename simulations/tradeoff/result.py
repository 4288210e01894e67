"""What one training of a study found. Kept as JSON, one file for each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core_model.config import Settings
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.grid import Cell

COUNTS = tuple[tuple[tuple[int, int, int], ...], ...]


class EpochResult(Settings):
    """After one epoch. Threshold and best epoch are chosen by people who are not tested on."""

    threshold: float
    f1_validation: float
    f1_own: float  # people trained on
    f1_new_people: float
    f1_new_site: float
    auc_new_people: float


class IdentityResult(Settings):
    """How well a converged linear attacker knows people by the feature."""

    own: ProbeResult  # people trained on, other recordings
    new: ProbeResult  # people whom the detector never saw
    equal_error_rate: ScoreResult  # verification of new people; 0.5 is guessing


class CellResult(Settings):
    """One training: every epoch, and identity after the last and the best one."""

    cell: Cell
    epochs: tuple[EpochResult, ...]
    best: int  # index of the epoch with the best F1 on validation people
    identity_last: IdentityResult
    identity_best: IdentityResult
    counts_last: COUNTS  # (people, AUs, [TP, FP, FN]) on new people after the last epoch
    always: float  # F1 on new people of saying 'always'
    labels_probe: float  # people trained on, named by their AU labels alone
    seconds: float

    @property
    def last(self) -> EpochResult:
        """After the last epoch."""
        return self.epochs[-1]

    def counts(self) -> NDArray[np.int64]:
        """Return the counts on new people after the last epoch. Shape: (S, A, 3)."""
        return np.array(self.counts_last, np.int64)
