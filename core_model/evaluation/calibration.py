"""Whether a probability of 0.8 means 80 in 100: reliability, calibration error, Brier score.

No torch. Shapes: S = subjects, A = action units, B = bins, R = resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core_model.evaluation.bootstrap import RESAMPLES, Floats, draw_people
from core_model.evaluation.metrics import Predictions, Score

NUM_BINS = 15


@dataclass(frozen=True)
class Bins:
    """Frames by their predicted probability. Shape: (A, B) each; nan where a bin is empty."""

    num_frames: Floats
    mean_probability: Floats
    share_occurring: Floats


@dataclass(frozen=True)
class CalibrationScores:
    """Expected calibration error and Brier score of each AU, and their macro means."""

    error: dict[int, Score]
    brier: dict[int, Score]
    macro_error: Score
    macro_brier: Score
    bins: Bins


def calibration_scores(
    p: Predictions, *, seed: int = 0, resamples: int = RESAMPLES
) -> CalibrationScores:
    """Return calibration with intervals from a bootstrap over subjects.

    The calibration error is the mean distance between predicted and observed share over equal-wide
    bins, weighted by their frames. It is never below 0, so noise in few frames pushes it up.

    Raises:
        ValueError: No AU has both a positive and a negative label.
    """
    kept = p.scorable()
    if not kept:
        raise ValueError("no action unit has both labels: there is nothing to calibrate")
    p = p.only(kept)
    sums, squares = _sums(p)
    weights = draw_people(len(sums), resamples, seed)
    error, brier = _error(sums.sum(axis=0)), _mean(squares.sum(axis=0))
    drawn_error = _error(np.tensordot(weights, sums, axes=1))
    drawn_brier = _mean(np.tensordot(weights, squares, axes=1))
    n = len(sums)
    return CalibrationScores(
        {au: Score.of(error[a], drawn_error[:, a], n) for a, au in enumerate(kept)},
        {au: Score.of(brier[a], drawn_brier[:, a], n) for a, au in enumerate(kept)},
        Score.of(error.mean(), np.nanmean(drawn_error, axis=1), n),
        Score.of(brier.mean(), np.nanmean(drawn_brier, axis=1), n),
        _bins(sums.sum(axis=0)),
    )


def _sums(p: Predictions) -> tuple[Floats, Floats]:
    """Sum up by subject: (frames, probabilities, occurrences) by bin; (frames, squared errors).

    Shapes: (S, A, B, 3) and (S, A, 2).
    """
    people, index = np.unique(p.subjects, return_inverse=True)
    sums = np.zeros((len(people), len(p.action_units), NUM_BINS, 3))
    squares = np.zeros((len(people), len(p.action_units), 2))
    for a in range(len(p.action_units)):
        known = p.known[:, a] > 0.5
        probability, occurs = p.probabilities[known, a].astype(float), p.aus[known, a].astype(float)
        bins = np.minimum((probability * NUM_BINS).astype(int), NUM_BINS - 1)
        values = np.stack([np.ones_like(occurs), probability, occurs], axis=1)
        np.add.at(sums[:, a], (index[known], bins), values)
        errors = np.stack([np.ones_like(occurs), (probability - occurs) ** 2], axis=1)
        np.add.at(squares[:, a], index[known], errors)
    return sums, squares


def _error(sums: Floats) -> Floats:
    """Shape: (..., B, 3) -> (...)."""
    gaps = np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1)
    return _ratio(gaps, sums[..., 0].sum(axis=-1))


def _mean(squares: Floats) -> Floats:
    """Shape: (..., 2) -> (...)."""
    return _ratio(squares[..., 1], squares[..., 0])


def _bins(sums: Floats) -> Bins:
    frames = sums[..., 0]
    return Bins(frames, _ratio(sums[..., 1], frames), _ratio(sums[..., 2], frames))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
