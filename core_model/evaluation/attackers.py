"""Attackers who name people from what a detector gives away, each trained until it has converged.

They learn from some recordings of each person and are tested on others (another day, another lamp):
what is only the recording's must not count as identity. No torch.

Shapes: N = frames, D = features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core_model.evaluation.bootstrap import Floats, draw_people
from core_model.evaluation.metrics import Score

AttackerName = Literal["linear", "mlp", "knn"]
ATTACKERS: tuple[AttackerName, ...] = ("linear", "mlp", "knn")
_MAX_STEPS = 2000


@dataclass(frozen=True)
class Evidence:
    """What an attacker sees of some frames, and the truth."""

    features: Floats  # (N, D)
    subjects: NDArray[np.int64]  # (N,)
    recordings: NDArray[np.int64]  # (N,)

    def only(self, mine: NDArray[np.bool_]) -> Evidence:
        """Return some of the frames."""
        return Evidence(self.features[mine], self.subjects[mine], self.recordings[mine])


@dataclass(frozen=True)
class Attack:
    """How often an attacker names the right person of those enrolled."""

    attacker: AttackerName
    setting: str  # chosen on held-out frames of the enrolled recordings
    accuracy: Score  # of a frame
    recording_accuracy: Score  # of a whole recording, its frames put together
    chance: float  # of always naming the person with most frames
    num_subjects: int
    has_converged: bool


def thin(evidence: Evidence, frames_per_recording: int) -> Evidence:
    """Keep so many frames of each recording at most, evenly spread."""
    keep = np.zeros(len(evidence.subjects), bool)
    for recording in np.unique(evidence.recordings):
        own = np.flatnonzero(evidence.recordings == recording)
        places = np.linspace(0, len(own) - 1, min(frames_per_recording, len(own)))
        keep[own[places.round().astype(int)]] = True
    return evidence.only(keep)


def enrolled_frames(
    subjects: NDArray[np.int64], recordings: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark the frames of the first half of each person's recordings. Shape: (N,).

    Raises:
        ValueError: A person has one recording only, so that nothing can be held out.
    """
    enrolled = np.zeros(len(subjects), bool)
    for person in np.unique(subjects):
        own = np.unique(recordings[subjects == person])
        if len(own) < 2:
            raise ValueError("the identity attack needs at least two recordings of each person")
        enrolled |= (subjects == person) & np.isin(recordings, own[: len(own) // 2])
    return enrolled


def attack(name: AttackerName, evidence: Evidence, *, seed: int = 0) -> Attack:
    """Train an attacker on enrolled recordings and test it on the others.

    Raises:
        ValueError: A person has one recording only.
    """
    enrolled = enrolled_frames(evidence.subjects, evidence.recordings)
    train, test = evidence.only(enrolled), evidence.only(~enrolled)
    model, setting = _best(name, train, seed)
    correct = model.predict(test.features) == test.subjects
    as_wholes = _recordings_named(model, test)
    chance = np.bincount(test.subjects).max() / len(test.subjects)
    return Attack(
        name,
        setting,
        _share(correct, test.subjects, seed),
        _share(as_wholes[0], as_wholes[1], seed),
        float(chance),
        len(np.unique(evidence.subjects)),
        _converged(model),
    )


def linear_on_random_frames(evidence: Evidence, seed: int = 0) -> float:
    """Return the accuracy of a converged linear attacker when frames are split at random.

    Neighbouring frames of one video are then on both sides: the paper's split, which flatters.
    """
    order = np.random.default_rng(seed).permutation(len(evidence.subjects))
    train, test = np.split(order, [int(0.7 * len(order))])
    model = _fit(_linear(1.0, seed), evidence.features[train], evidence.subjects[train])
    return float(model.score(evidence.features[test], evidence.subjects[test]))


def _candidates(name: AttackerName, seed: int) -> dict[str, Any]:
    """Return untrained attackers by their setting."""
    if name == "linear":
        return {f"C={c:g}": _linear(c, seed) for c in (0.1, 1.0, 10.0)}
    models: dict[str, Any] = {}
    if name == "knn":
        for k in (1, 5, 15):
            models[f"k={k}"] = KNeighborsClassifier(k, metric="cosine", weights="distance")
    else:
        for alpha in (1e-3, 1.0):
            models[f"hidden=256, alpha={alpha:g}"] = MLPClassifier(
                (256,), alpha=alpha, max_iter=_MAX_STEPS // 2, random_state=seed
            )
    return {setting: make_pipeline(StandardScaler(), m) for setting, m in models.items()}


def _linear(inverse_regularisation: float, seed: int) -> Any:
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=inverse_regularisation, max_iter=_MAX_STEPS, random_state=seed),
    )


def _best(name: AttackerName, train: Evidence, seed: int) -> tuple[Any, str]:
    """Return the attacker with the best setting, judged on the last third of each recording."""
    late = np.zeros(len(train.subjects), bool)
    for recording in np.unique(train.recordings):
        own = np.flatnonzero(train.recordings == recording)
        late[own[-max(1, len(own) // 3) :]] = True
    candidates = _candidates(name, seed)
    early, last = train.only(~late), train.only(late)
    scores = dict.fromkeys(candidates, 0.0)
    for setting, untrained in candidates.items() if len(early.subjects) else ():
        model = _fit(clone(untrained), early.features, early.subjects)
        scores[setting] = model.score(last.features, last.subjects)
    setting = max(scores, key=lambda s: scores[s])
    return _fit(clone(candidates[setting]), train.features, train.subjects), setting


def _fit(model: Any, features: Floats, subjects: NDArray[np.int64]) -> Any:
    if "kneighborsclassifier" in model.named_steps:
        neighbours = model.named_steps["kneighborsclassifier"]
        neighbours.n_neighbors = min(neighbours.n_neighbors, len(subjects))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in the result instead
        return model.fit(features, subjects)


def _converged(model: Any) -> bool:
    last = model.steps[-1][1]
    if not hasattr(last, "n_iter_"):
        return True
    return bool(np.max(last.n_iter_) < last.max_iter)


def _recordings_named(model: Any, test: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each recording as a whole was given to the right person, and who that is."""
    likelihood = np.log(model.predict_proba(test.features) + 1e-9)
    named, who = [], []
    for recording in np.unique(test.recordings):
        mine = test.recordings == recording
        person = test.subjects[mine][0]
        named.append(model.classes_[likelihood[mine].sum(axis=0).argmax()] == person)
        who.append(person)
    return np.array(named), np.array(who, np.int64)


def _share(correct: NDArray[np.bool_], subjects: NDArray[np.int64], seed: int) -> Score:
    """Return the share that is correct, with an interval by people."""
    people, index = np.unique(subjects, return_inverse=True)
    sums = np.zeros((len(people), 2))
    np.add.at(sums, index, np.stack([correct, np.ones(len(correct))], axis=1))
    drawn = draw_people(len(people), seed=seed) @ sums
    return Score.of(float(correct.mean()), drawn[:, 0] / drawn[:, 1], len(people))
