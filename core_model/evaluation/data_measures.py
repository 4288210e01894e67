"""Diversity of a data set, not only its size: pure functions over labels and looks. No torch.

Shapes: N = frames, A = action units, P = people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core_model.data.look import ITA_CLASSES, ita_class
from core_model.evaluation.data_result import AuFigures, Spread

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCKS = 5  # of each person's frames, for the shortcut
PRIOR = 2.0  # frames' worth of the base rate that a person's rate begins with
NEARLY_EQUAL = 3  # bits of 64
HIDDEN_BELOW = 3  # people; smaller groups are not told apart
_TURNS = (("far left", -90.0), ("left", -35.0), ("frontal", -15.0), ("right", 15.0),
          ("far right", 35.0))  # fmt: skip
_NODS = (("up", -90.0), ("level", -15.0), ("down", 15.0))


def au_figures(
    aus: tuple[int, ...], occurs: Floats, known: Floats, people: Ints
) -> tuple[AuFigures, ...]:
    """Return the figures of each AU. Shapes: (N, A), (N, A), (N,)."""
    figures = []
    for column, au in enumerate(aus):
        is_known = known[:, column] > 0.5
        values, who = occurs[is_known, column], people[is_known]
        rates = [float(values[who == p].mean()) for p in np.unique(who)]
        figures.append(
            AuFigures(
                au=au,
                known=int(is_known.sum()),
                unknown=int((~is_known).sum()),
                base_rate=float(values.mean()) if len(values) else None,
                people_showing=sum(rate > 0 for rate in rates),
                people_known=len(rates),
                least_rate=min(rates, default=None),
                most_rate=max(rates, default=None),
                shortcut_auc=shortcut_auc(values, who),
            )
        )
    return tuple(figures)


def shortcut_auc(values: Floats, people: Ints) -> float | None:
    """Return how well an AU is predicted by who it is, and by nothing else.

    Each person's frames are cut into blocks of time; in each block, the person's rate in the other
    blocks is the prediction. 0.5 is guessing. None: fewer than two people, or all values equal.

    Shapes: (N,), (N,); frames of a person in order of time.
    """
    if len(np.unique(people)) < 2 or values.min() == values.max():
        return None
    predicted = np.zeros(len(values))
    for person in np.unique(people):
        mine = np.flatnonzero(people == person)
        for block in np.array_split(mine, BLOCKS):
            rest = np.setdiff1d(mine, block)
            others = people != person
            base = values[others].mean()
            predicted[block] = (values[rest].sum() + PRIOR * base) / (len(rest) + PRIOR)
    return auc(predicted, values > 0.5)


def auc(scores: Floats, is_positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve; ties count half."""
    positives = int(is_positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return float(
        (ranks[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def co_occurrence(occurs: Floats, known: Floats) -> tuple[tuple[float | None, ...], ...]:
    """Return P(AU of the row | AU of the column), where both are known; the diagonal: P(AU).

    Shapes: (N, A), (N, A) -> (A, A).
    """
    both_known = known.T @ (known * occurs)
    both = (known * occurs).T @ (known * occurs)
    np.fill_diagonal(both_known, known.sum(axis=0))
    return tuple(
        tuple(float(b / k) if k else None for b, k in zip(row, count, strict=True))
        for row, count in zip(both, both_known, strict=True)
    )


def spread(values: Floats) -> Spread | None:
    """Return quantiles; None of nothing."""
    if not len(values):
        return None
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
    return Spread(low=float(low), median=float(median), high=float(high))


def effective(counts: Ints) -> float | None:
    """Return how many equal shares would be as even as these (inverse Simpson)."""
    total = counts.sum()
    return float(1 / ((counts / total) ** 2).sum()) if total else None


def turns(yaw: Floats) -> dict[str, float]:
    """Return the share of frames by how far the head is turned, mirrored as the image shows it."""
    return _binned(yaw, _TURNS)


def nods(pitch: Floats) -> dict[str, float]:
    """Return the share of frames by whether the head looks up or down."""
    return _binned(pitch, _NODS)


def _binned(values: Floats, bins: tuple[tuple[str, float], ...]) -> dict[str, float]:
    if not len(values):
        return {}
    place = np.digitize(values, [least for _, least in bins[1:]])
    return {name: float((place == k).mean()) for k, (name, _) in enumerate(bins)}


def lightness(ita: Floats, people: Ints) -> dict[str, str]:
    """Return how many people are in each class of skin lightness; small groups hidden.

    Each person counts once, by the median of their frames, which is not kept.
    """
    classes = [ita_class(float(np.median(ita[people == p]))) for p in np.unique(people)]
    told = {}
    for name, _ in ITA_CLASSES:
        number = classes.count(name)
        told[name] = f"fewer than {HIDDEN_BELOW}" if 0 < number < HIDDEN_BELOW else str(number)
    return told


def copies(hashes: NDArray[np.uint64], recordings: Ints, people: Ints) -> tuple[float | None, int]:
    """Return how much repeats: the share of frames, and a number of frames.

    The share is of those nearly equal to an earlier frame of their recording; the number, of those
    nearly equal to one of another person: names mixed up, or one image under two names.

    Shapes: (N,) each.
    """
    if not len(hashes):
        return None, 0
    repeated, shared = 0, 0
    step = 2048
    for start in range(0, len(hashes), step):
        rows = slice(start, start + step)
        near = np.bitwise_count(hashes[rows, None] ^ hashes[None, :]) <= NEARLY_EQUAL
        earlier = np.arange(len(hashes))[None, :] < np.arange(len(hashes))[rows, None]
        same = recordings[rows, None] == recordings[None, :]
        repeated += int((near & earlier & same).any(axis=1).sum())
        shared += int((near & (people[rows, None] != people[None, :])).any(axis=1).sum())
    return repeated / len(hashes), shared
