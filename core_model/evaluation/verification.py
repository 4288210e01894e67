"""Whether two recordings can be told to be of one person, for people the attacker never saw.

No torch. The attacker learns on half of the people what tells people apart, and is tested on the
other half, then the other way round. A frame is compared with the mean of another recording.

Shapes: N = frames, D = features, S = subjects, K = thresholds, R = resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core_model.evaluation.attackers import Evidence
from core_model.evaluation.bootstrap import Floats, draw_people
from core_model.evaluation.metrics import Score

FALSE_ACCEPT_RATE = 1e-3
_LEVELS = np.unique(np.concatenate([[0.0], np.geomspace(1e-5, 0.1, 160), np.linspace(0.1, 1, 181)]))
RESAMPLES = 300


@dataclass(frozen=True)
class Verification:
    """Error rates over pairs. ``tar`` is nan where too few impostors are there to tell."""

    equal_error_rate: Score  # 0.5 is guessing
    tar: Score  # true accepts where one impostor in a thousand is accepted
    num_subjects: int
    num_genuine: int
    num_impostors: int


@dataclass(frozen=True)
class Pairs:
    """Share of each person's genuine, and of each two people's impostor pairs above thresholds."""

    genuine: Floats  # (S, K), counts above
    num_genuine: Floats  # (S,)
    impostors: Floats  # (S, S, K), counts above; 0 on the diagonal
    num_impostors: Floats  # (S, S)


def verify(evidence: Evidence, *, seed: int = 0) -> Verification:
    """Return error rates of an attacker who meets people for the first time.

    Raises:
        ValueError: There are fewer than eight people, or one has a single recording.
    """
    people = np.unique(evidence.subjects)
    if len(people) < 8:
        raise ValueError(f"verification needs at least 8 people, got {len(people)}")
    shuffled = np.random.default_rng(seed).permutation(people)
    halves = [np.isin(evidence.subjects, h) for h in np.array_split(shuffled, 2)]
    rates, drawn, genuine, impostors = [], [], 0.0, 0.0
    for mine, others in (halves, halves[::-1]):
        metric = learn_metric(evidence.only(others))
        test = evidence.only(mine)
        pairs = all_pairs(metric.transform(test.features), test.subjects, test.recordings)
        size = len(pairs.num_genuine)
        rates.append(error_rates(pairs, np.ones((1, size), np.int64))[:, 0])
        drawn.append(error_rates(pairs, draw_people(size, RESAMPLES, seed)))
        genuine += pairs.num_genuine.sum()
        impostors += pairs.num_impostors.sum()
    value, spread = np.mean(rates, axis=0), np.mean(drawn, axis=0)
    tar = Score.of(value[1], spread[1], len(people))
    if impostors / 2 < 10 / FALSE_ACCEPT_RATE:
        tar = Score(float("nan"), float("nan"), float("nan"))
    return Verification(
        Score.of(value[0], spread[0], len(people)), tar, len(people), int(genuine), int(impostors)
    )


def learn_metric(evidence: Evidence) -> Any:
    """Return directions that tell people apart and not their recordings (shrunken LDA)."""
    num_people = len(np.unique(evidence.subjects))
    width = min(num_people - 1, evidence.features.shape[1])
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=width)
    return make_pipeline(StandardScaler(), discriminant).fit(evidence.features, evidence.subjects)


def all_pairs(vectors: Floats, subjects: NDArray[np.int64], recordings: NDArray[np.int64]) -> Pairs:
    """Compare every frame with the mean of every other recording, by cosine.

    Raises:
        ValueError: Nobody has two recordings.
    """
    people, person = np.unique(subjects, return_inverse=True)
    names, first, index = np.unique(recordings, return_index=True, return_inverse=True)
    templates = np.stack([vectors[index == r].mean(axis=0) for r in range(len(names))])
    scores = _unit(vectors) @ _unit(templates).T  # (N, recordings)
    owner = person[first][None]  # of each template
    is_same = person[:, None] == owner
    is_genuine = is_same & (index[:, None] != np.arange(len(names))[None])
    if not is_genuine.any():
        raise ValueError("verification needs at least two recordings of some people")
    thresholds = np.append(np.quantile(scores[~is_same], np.sort(1 - _LEVELS)), np.inf)
    bins = np.searchsorted(thresholds, scores, side="right")  # thresholds that a pair passes
    pair = person[:, None] * len(people) + owner
    genuine, num_genuine = _above(pair, bins, is_genuine, len(people), len(thresholds))
    impostors, num_impostors = _above(pair, bins, ~is_same, len(people), len(thresholds))
    own = np.arange(len(people))
    return Pairs(genuine[own, own], num_genuine[own, own], impostors, num_impostors)


def error_rates(pairs: Pairs, weights: NDArray[np.int64]) -> Floats:
    """Return equal error rate and true accept rate for each draw of people. Shape: (2, R).

    An impostor pair counts as often as both of its people were drawn together.
    """
    drawn = weights.astype(float)
    both = (drawn[:, :, None] * drawn[:, None]).reshape(len(drawn), -1)  # (R, S * S)
    with np.errstate(invalid="ignore", divide="ignore"):
        accepted = both @ pairs.impostors.reshape(both.shape[1], -1)  # (R, K)
        false_accepts = accepted / (both @ pairs.num_impostors.reshape(-1))[:, None]
        accepts = (drawn @ pairs.genuine) / (drawn @ pairs.num_genuine)[:, None]
    return np.stack([_crossing(false_accepts, 1 - accepts), _tar(false_accepts, accepts)])


def _above(
    pair: NDArray[np.int64], bins: NDArray[np.int64], mine: NDArray[np.bool_], size: int, width: int
) -> tuple[Floats, Floats]:
    """Count the pairs that pass each threshold, and all. Shapes: (S, S, K), (S, S)."""
    cells = pair[mine] * (width + 1) + bins[mine]
    table = np.bincount(cells, minlength=size * size * (width + 1)).astype(float)
    table = table.reshape(size, size, width + 1)
    passed = table[..., ::-1].cumsum(axis=-1)[..., ::-1]  # [k]: pairs that pass k and more
    return passed[..., 1:], passed[..., 0]


def _crossing(falling: Floats, rising: Floats) -> Floats:
    """Return where two curves meet, by straight lines between thresholds. Shape: (R, K) -> (R,)."""
    gap = falling - rising
    rows = np.arange(len(gap))
    after = np.maximum((gap <= 0).argmax(axis=1), 1)
    before = after - 1
    step = gap[rows, before] - gap[rows, after]
    share = np.divide(gap[rows, before], step, out=np.zeros(len(gap)), where=step > 0)
    return falling[rows, before] + share * (falling[rows, after] - falling[rows, before])


def _tar(false_accepts: Floats, accepts: Floats) -> Floats:
    """Return the most true accepts at the allowed rate of false ones. Shape: (R, K) -> (R,)."""
    return np.where(false_accepts <= FALSE_ACCEPT_RATE, accepts, 0.0).max(axis=1)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
