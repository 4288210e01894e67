"""Measure a trained arm: F1 on new people and places, and how much identity its features hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from core_model.checkpoint import load_checkpoint
from core_model.config import FinetuneConfig
from core_model.data.augment import standardise
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.identity import identity_probe
from core_model.evaluation.metrics import (
    Predictions,
    best_common_threshold,
    counts_by_subject,
    f1_from_counts,
    f1_scores,
)
from core_model.evaluation.predict import predict
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.nn.weights import set_arrays
from simulations.arms import Arm, last_checkpoint
from simulations.data import People
from simulations.results import ArmResult, ProbeResult, ScoreResult
from simulations.scenario import Scenario


def measure_arm(arm: Arm, scenario: Scenario, people: People, root: Path) -> ArmResult:
    """Return the result of an arm, kept in its folder; the test people are only looked at here."""
    path = root / arm.name / "result.json"
    if not path.exists():
        path.write_text(_measure(arm, scenario, people, root).model_dump_json(indent=2))
    return ArmResult.model_validate_json(path.read_text())


def macro_f1(path: Path, aus: Sequence[int]) -> float:
    """Return the macro F1 on unseen people over some AUs only, from a saved result."""
    per_au = json.loads(path.read_text())["f1_unseen_people"]
    return float(np.mean([per_au[str(au)]["value"] for au in aus]))


def _measure(arm: Arm, scenario: Scenario, people: People, root: Path) -> ArmResult:
    torch.set_num_threads(1)
    model = _detector(scenario, last_checkpoint(root, arm.name))
    sites = [s for s in scenario.sites if s.site_id in arm.sites]
    run = partial(_run, model, scenario)
    # What chose the threshold is in the model's use: for a private arm it is public too.
    is_public = arm.is_public or arm.is_private
    validation, _, _ = run(people.public_validation() if is_public else people.validation(sites))
    threshold = best_common_threshold(validation)
    thresholds = np.full(len(scenario.action_units), threshold)

    new, new_features, new_recordings = run(people.unseen_people(scenario.sites))
    place, _, _ = run(people.unseen_site())
    lists = [people.public()] if arm.is_public else [people.training(s)[0] for s in sites]
    trained = [r for listing in lists for r in read_recordings(listing)]
    seen, seen_features, seen_recordings = run(trained)
    real_people, real_features, real_recordings = _real_features(model, people, scenario)

    per_au, macro = f1_scores(new, thresholds, seed=scenario.seed)
    _, macro_place = f1_scores(place, thresholds, seed=scenario.seed)
    seen_f1 = f1_from_counts(counts_by_subject(seen, thresholds).sum(axis=0))
    seen_probe = identity_probe(seen_features, seen.subjects, seen_recordings)
    return ArmResult(
        reversal_scale=arm.reversal_scale,
        threshold=threshold,
        macro_f1_unseen_people=macro.value,
        macro_f1_unseen_people_interval=ScoreResult.of(macro),
        f1_unseen_people={au: ScoreResult.of(score) for au, score in per_au.items()},
        macro_f1_unseen_site=macro_place.value,
        macro_f1_unseen_site_interval=ScoreResult.of(macro_place),
        macro_f1_seen_people=float(np.nanmean(seen_f1)),
        identity_probe=seen_probe.accuracy,
        identity_chance=seen_probe.chance,
        identity_probe_unseen_people=ProbeResult.of(
            identity_probe(new_features, new.subjects, new_recordings)
        ),
        identity_probe_real_people=ProbeResult.of(
            identity_probe(real_features, real_people, real_recordings)
        ),
    )


def _detector(scenario: Scenario, checkpoint: Path) -> IATModel:
    model = IATModel(scenario.encoder, scenario.action_units, 1, FinetuneConfig())
    arrays, _ = load_checkpoint(checkpoint)
    set_arrays(model, {n: a for n, a in arrays.items() if not n.startswith("decoder.")})
    return model


def _run(
    model: IATModel, scenario: Scenario, recordings: Sequence[Recording]
) -> tuple[Predictions, NDArray[np.float32], NDArray[np.int64]]:
    """Return predictions, features, and the recording of each frame as a number."""
    dataset = FrameDataset(recordings, scenario.image_size, scenario.action_units)
    predictions, features = predict(model, dataset, device=torch.device("cpu"))
    return predictions, features, np.unique(dataset.recording_ids, return_inverse=True)[1]


def _real_features(
    model: IATModel, people: People, scenario: Scenario
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return who, features and recording of each frame of the real people."""
    dataset = FrameDataset(people.real_probe(), scenario.image_size)
    _, features = predict(model, dataset, device=torch.device("cpu"))
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    return dataset.identities.numpy(), features, recordings


def measure_mae(arm: Arm, scenario: Scenario, people: People, root: Path) -> float:
    """Return the MAE loss on unseen people after pretraining, the mean over the sites' decoders.

    With a shared decoder all sites have the same one.
    """
    torch.set_num_threads(1)
    dataset = FrameDataset(people.unseen_people(scenario.sites), scenario.image_size)
    model = MaskedAutoencoder(scenario.encoder, scenario.pretraining).eval()
    arrays, _ = load_checkpoint(last_checkpoint(root, arm.name))
    set_arrays(model, {n: a for n, a in arrays.items() if not n.startswith("au_head.")})
    run = f"{arm.name}-{scenario.seed}"
    losses = []
    for site in arm.sites:
        if not arm.share_decoder:
            state = root / arm.name / "sites" / site / "state" / run / "pretraining.safetensors"
            set_arrays(model, load_file(state))
        chance = torch.Generator().manual_seed(0)
        for batch in dataset.in_order(256):
            images = standardise(batch.images)
            order = random_order(len(images), scenario.encoder.num_patches, chance)
            with torch.inference_mode():
                losses.append(float(model.loss(images, order)))
    return float(np.mean(losses))
