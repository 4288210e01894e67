"""From which probability on an AU counts as found, and who was asked. No torch.

Choosing thresholds on the people one tests on makes F1 look better than it is. The authors of
FMAE-IAT do so (``test_swept``); it is here to compare with them, and every figure that comes of it
carries ``TEST_SWEPT_WARNING``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.metrics import Predictions, f1_from_counts

ThresholdPolicy = Literal["fixed_0.5", "val_swept_common", "val_swept_per_au", "test_swept"]

TEST_SWEPT_WARNING = "threshold chosen on the people tested on: too good to be true"
GRID: Floats = np.arange(1, 100) / 100  # the authors' 99


def warning_of(policy: ThresholdPolicy) -> str | None:
    """Return what must stand beside every figure under this policy."""
    return TEST_SWEPT_WARNING if policy == "test_swept" else None


def choose_thresholds(
    policy: ThresholdPolicy, validation: Predictions | None, test: Predictions
) -> Floats:
    """Return a threshold for each AU. Shape: (A,).

    Args:
        policy: ``fixed_0.5`` asks nobody; ``val_swept_common`` takes the one threshold of best
            macro F1 on the validation people, ``val_swept_per_au`` the best of each AU;
            ``test_swept`` the one of best macro F1 on the test people themselves.
        validation: People who are neither trained nor tested on.
        test: The people tested on.

    Raises:
        ValueError: The policy needs validation people and there are none.
    """
    width = len(test.action_units)
    if policy == "fixed_0.5":
        return np.full(width, 0.5)
    asked = test if policy == "test_swept" else validation
    if asked is None:
        raise ValueError(
            f"{policy} needs validation people, who are neither trained nor tested on: "
            "give them with --validation, or take fixed_0.5"
        )
    f1 = f1_by_threshold(asked)  # (thresholds, A)
    if policy == "val_swept_per_au":
        unasked = np.isnan(f1).all(axis=0)  # an AU that no validation person shows
        return np.where(unasked, 0.5, GRID[np.nan_to_num(f1, nan=-1.0).argmax(axis=0)])
    return np.full(width, GRID[np.nanmean(f1, axis=1).argmax()])


def f1_by_threshold(p: Predictions) -> Floats:
    """Return F1 of each AU at each threshold of ``GRID``. Shape: (99, A).

    nan where an AU has no positive label, so that it does not sway the mean.
    """
    f1 = np.full((len(GRID), len(p.action_units)), np.nan)
    for a in range(len(p.action_units)):
        known, occurs = p.known[:, a] > 0.5, p.aus[:, a] > 0.5
        positives = np.sort(p.probabilities[known & occurs, a])
        negatives = np.sort(p.probabilities[known & ~occurs, a])
        if len(positives):
            hits = len(positives) - np.searchsorted(positives, GRID)
            alarms = len(negatives) - np.searchsorted(negatives, GRID)
            f1[:, a] = f1_from_counts(np.stack([hits, alarms, len(positives) - hits], axis=-1))
    if np.isnan(f1).all():
        raise ValueError("no action unit has a positive label: there is nothing to choose by")
    return f1
