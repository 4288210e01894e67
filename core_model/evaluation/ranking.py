"""How well probabilities rank frames, whatever the threshold: AUC and average precision. No torch.

Shapes: N = frames, R = resamples, A = action units, K = distinct probabilities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core_model.evaluation.bootstrap import RESAMPLES, Counts, Floats, draw_people
from core_model.evaluation.metrics import Predictions, Score

_CELLS = 4_000_000  # of one temporary array


class Areas(NamedTuple):
    """Areas under two curves. Shape: (R,) each; nan where all labels weigh on one side."""

    auc: Floats  # under the ROC curve
    average_precision: Floats  # under the precision-recall curve, as steps


def areas(probabilities: Floats, occurs: NDArray[np.bool_], weights: Counts) -> Areas:
    """Return both areas for each set of frame weights.

    Args:
        probabilities: Shape: (N,).
        occurs: Shape: (N,).
        weights: How often each frame counts. Shape: (R, N).
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # ties count together
    rows = max(1, _CELLS // len(ranked))
    parts = [
        _areas(occurs[order], weights[i : i + rows, order], ends)
        for i in range(0, len(weights), rows)
    ]
    return Areas(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _areas(occurs: NDArray[np.bool_], weights: Counts, ends: NDArray[np.intp]) -> Areas:
    found = np.cumsum(weights * occurs, axis=1)[:, ends].astype(float)  # (R, K)
    alarms = np.cumsum(weights * ~occurs, axis=1)[:, ends].astype(float)
    more_found = np.diff(found, axis=1, prepend=0)
    more_alarms = np.diff(alarms, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (more_alarms * (found - more_found / 2)).sum(axis=1) / (found[:, -1] * alarms[:, -1])
        precision = found / (found + alarms)
        steps = np.where(more_found > 0, more_found * precision, 0.0)
        average_precision = steps.sum(axis=1) / found[:, -1]
    undefined = np.isnan(auc)
    return Areas(auc, np.where(undefined, np.nan, average_precision))


class RankingScores(NamedTuple):
    """Scores of each AU that can be scored, and their macro means."""

    auc: dict[int, Score]
    average_precision: dict[int, Score]
    macro_auc: Score
    macro_average_precision: Score


def ranking_scores(p: Predictions, *, seed: int = 0, resamples: int = RESAMPLES) -> RankingScores:
    """Return AUC and average precision with intervals from a bootstrap over subjects.

    Raises:
        ValueError: No AU has both a positive and a negative label.
    """
    people, index = np.unique(p.subjects, return_inverse=True)
    weights = np.concatenate(
        [np.ones((1, len(people)), np.int64), draw_people(len(people), resamples, seed)]
    )
    kept = p.scorable()
    if not kept:
        raise ValueError("no action unit has both labels: there is nothing to rank")
    all_areas = []
    for au in kept:
        a = p.action_units.index(au)
        known = p.known[:, a] > 0.5
        all_areas.append(
            areas(p.probabilities[known, a], p.aus[known, a] > 0.5, weights[:, index[known]])
        )
    auc = np.stack([x.auc for x in all_areas], axis=1)  # (1 + R, A)
    precision = np.stack([x.average_precision for x in all_areas], axis=1)
    n = len(people)
    return RankingScores(
        {au: Score.of(auc[0, a], auc[1:, a], n) for a, au in enumerate(kept)},
        {au: Score.of(precision[0, a], precision[1:, a], n) for a, au in enumerate(kept)},
        Score.of(auc[0].mean(), np.nanmean(auc[1:], axis=1), n),
        Score.of(precision[0].mean(), np.nanmean(precision[1:], axis=1), n),
    )
