"""What a detector finds, and what it gives away, on people at a place nobody trained at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from core_model.data.frames import FrameDataset
from core_model.evaluation.attackers import Evidence
from core_model.evaluation.identity import identity_probe
from core_model.evaluation.metrics import Predictions, counts_by_subject, f1_from_counts
from core_model.evaluation.predict import predict
from core_model.evaluation.ranking import areas
from core_model.evaluation.verification import verify
from core_model.neutral import Floats, neutral_shift
from core_model.nn.iat import IATModel
from core_model.release.fit import neutral_logits, sigmoid
from simulations.levers.result import LeverResult
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.people import Groups

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Answers:
    """What a detector said of a dataset. Shapes: features (N, D), recordings (N,)."""

    predictions: Predictions
    features: NDArray[np.float32]
    recordings: NDArray[np.int64]

    @property
    def logits(self) -> Floats:
        """Shape: (N, A)."""
        p = np.clip(self.predictions.probabilities.astype(float), 1e-7, 1 - 1e-7)
        return np.log(p) - np.log1p(-p)

    def frames(self, rows: NDArray[np.int64]) -> Answers:
        """Return some frames."""
        p = self.predictions
        kept = Predictions(
            p.action_units, p.probabilities[rows], p.aus[rows], p.known[rows], p.subjects[rows]
        )
        return Answers(kept, self.features[rows], self.recordings[rows])


def ask(model: IATModel, dataset: FrameDataset) -> Answers:
    """Return what a detector says."""
    predictions, features = predict(model, dataset, device=CPU)
    return Answers(predictions, features, np.unique(dataset.recording_ids, return_inverse=True)[1])


def calibrated(model: IATModel, groups: Groups) -> Answers:
    """Return the answers at the new site with each person's set off against one neutral frame.

    The reference, what neutral faces look like to the detector, comes with it: from people at the
    place of training who were not trained on.

    Raises:
        ValueError: Too few neutral frames are labelled there.
    """
    at_home = ask(model, groups.validation)
    p = at_home.predictions
    reference = neutral_logits(at_home.logits, p.aus, p.known)
    if reference is None:
        raise ValueError("fewer than 10 neutral frames of validation people")
    away = ask(model, groups.new_site)
    logits = away.logits.copy()
    for row in neutral_rows(away):
        mine = away.predictions.subjects == away.predictions.subjects[row]
        logits[mine] += neutral_shift(reference, away.logits[row])
    return replace(away, predictions=replace(away.predictions, probabilities=sigmoid(logits)))


def neutral_rows(answers: Answers) -> NDArray[np.int64]:
    """Return the first frame of each person: recordings begin with a face at rest. Shape: (S,)."""
    return np.unique(answers.predictions.subjects, return_index=True)[1]


def measure(
    name: str, model: IATModel, away: Answers, groups: Groups, threshold: float, seconds: float
) -> LeverResult:
    """Return the figures. Nobody's neutral frame is tested on, with whatever lever."""
    rest = np.setdiff1d(np.arange(len(away.recordings)), neutral_rows(away))
    tested = away.frames(rest)
    counts = counts_of(tested.predictions, threshold)
    subjects, recordings = tested.predictions.subjects, tested.recordings
    return LeverResult(
        name=name,
        f1_new_people=f1_of(counts_of(ask(model, groups.new_people).predictions, threshold)),
        f1_new_site=f1_of(counts),
        auc_new_site=auc_of(tested.predictions),
        counts=counts.tolist(),
        features=ProbeResult.of(identity_probe(tested.features, subjects, recordings)),
        logits=ProbeResult.of(identity_probe(tested.logits, subjects, recordings)),
        equal_error_rate=ScoreResult.of(
            verify(Evidence(tested.features, subjects, recordings)).equal_error_rate
        ),
        seconds=seconds,
    )


def counts_of(p: Predictions, threshold: float) -> NDArray[np.int64]:
    """Count by person with one threshold for all AUs. Shape: (S, A, 3)."""
    return counts_by_subject(p, np.full(len(p.action_units), threshold))


def f1_of(counts: NDArray[np.int64]) -> float:
    """Return the macro F1. Shape: (S, A, 3)."""
    return float(np.nanmean(f1_from_counts(counts.sum(axis=0))))


def auc_of(p: Predictions) -> float:
    """Return the mean AUC of the AUs that occur and are absent."""
    once = np.ones((1, len(p.subjects)), np.int64)
    columns = [p.action_units.index(au) for au in p.scorable()]
    return float(
        np.mean([areas(p.probabilities[:, a], p.aus[:, a] > 0.5, once).auc[0] for a in columns])
    )
