"""Measure the models of rounds on a public set: F1 under the clean protocol, the identity probe."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from core_model.checkpoint import CheckpointError, CheckpointManifest
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording
from core_model.evaluation.attackers import Evidence, thin
from core_model.evaluation.evaluate import always, shared_aus
from core_model.evaluation.figures import (
    Job,
    ModelToMeasure,
    ProbeFigures,
    RoundFigures,
    write_figures,
)
from core_model.evaluation.identity import identity_probe
from core_model.evaluation.metrics import f1_scores
from core_model.evaluation.model_run import People, data_facts, load_detector
from core_model.evaluation.predict import predict
from core_model.evaluation.protocol import Epoch, clean
from core_model.evaluation.public_set import PublicPeople, read_public
from core_model.evaluation.result import Measure

BATCH_SIZE = 32  # frames in memory: a large model must fit beside the server
FRAMES_PER_RECORDING = 50  # for the probe; more are thinned out


def measure_all(job: Job, device: torch.device) -> tuple[str, ...]:
    """Write the figures of each model; return what went wrong with which, a line each.

    Raises:
        ValueError: The public set is not right.
        OSError: It cannot be read.
    """
    people = read_public(job.public)
    name = people.digest()
    wrong = []
    for model in job.models:
        try:
            write_figures(model.out, measure(model, people, name, device))
        except (CheckpointError, ValueError) as e:
            wrong.append(f"round {model.round}: {e}")
    return tuple(wrong)


def measure(
    model: ModelToMeasure, people: PublicPeople, digest: str, device: torch.device
) -> RoundFigures:
    """Return the figures of one model.

    Args:
        model: Whose.
        people: On whom.
        digest: Of the people.
        device: Where the detector runs.

    Raises:
        CheckpointError: The weights cannot be read.
        ValueError: Nothing can be scored, or a picture or labels are not right.
    """
    begun = time.monotonic()
    detector, manifest = load_detector(model.checkpoint)
    dataset = _dataset(people.test, manifest)
    test, features = predict(detector, dataset, device=device, batch_size=BATCH_SIZE)
    left_out = shared_aus(manifest.action_units, test)
    kept = tuple(au for au in manifest.action_units if au not in left_out)
    if not kept:
        raise ValueError(f"none of the AUs {list(manifest.action_units)} can be scored")
    test, choosing = test.only(kept), None
    if people.validation:
        asked = _dataset(people.validation, manifest)
        choosing = predict(detector, asked, device=device, batch_size=BATCH_SIZE)[0].only(kept)
    choice = clean([Epoch(model.round, test, choosing)])
    per_au, macro = f1_scores(test, choice.thresholds)
    return RoundFigures(
        round=model.round,
        model=manifest.digest,
        people=digest,
        data=data_facts(People("public set", people.test, people.validation), test),
        threshold_policy=choice.threshold_policy,
        threshold=float(choice.thresholds[0]),
        macro_f1=Measure.of(macro),
        f1={au: Measure.of(score) for au, score in per_au.items()},
        always_f1=always(test),
        left_out=left_out,
        probe=_probe(dataset, features),
        seconds=round(time.monotonic() - begun, 3),
    )


def _dataset(recordings: Sequence[Recording], manifest: CheckpointManifest) -> FrameDataset:
    size, aus = manifest.encoder.image_size, manifest.action_units
    return FrameDataset(recordings, size, aus, in_memory=False)


def _probe(dataset: FrameDataset, features: NDArray[np.float32]) -> ProbeFigures | None:
    """Return how well people are named; None if nothing of someone can be held out."""
    subjects = dataset.identities.numpy()
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    if len(dataset.subjects) < 2 or not _all_have_two(subjects, recordings):
        return None
    seen, shown = (
        thin(Evidence(what, subjects, recordings), FRAMES_PER_RECORDING)
        for what in (features, dataset.aus.numpy())
    )
    found = identity_probe(seen.features, seen.subjects, seen.recordings)
    labels = identity_probe(shown.features, shown.subjects, shown.recordings).accuracy
    return ProbeFigures(
        accuracy=found.accuracy, chance=found.chance, labels=labels, num_people=found.num_subjects
    )


def _all_have_two(subjects: NDArray[np.int64], recordings: NDArray[np.int64]) -> bool:
    return all(len(np.unique(recordings[subjects == s])) > 1 for s in np.unique(subjects))
