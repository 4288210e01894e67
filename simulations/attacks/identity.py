"""Who is it? From features and logits of a detector, and from what an update holds of a person.

Attackers are trained until they have converged, on one recording of each person, and tested on the
other; and verification asks about people whom neither detector nor attacker ever saw.

Shapes: N = frames or updates, S = people, R = frames of an update, P = weights.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_model.data.frames import FrameDataset
from core_model.evaluation.attack_result import Row
from core_model.evaluation.attackers import ATTACKERS, Evidence, attack
from core_model.evaluation.predict import predict
from core_model.evaluation.verification import verify
from core_model.nn.iat import IATModel
from core_model.privacy.chance import SimulationChance, add_noise
from core_model.training.finetune import finetune
from simulations.attacks.setting import CPU, Setting
from simulations.attacks.training import (
    fresh,
    gradients_of,
    plan_of,
    settings_of,
    shared_weights,
)

REVERSAL = 1.0  # of IAT, relative
UPDATES = 3  # of each recording
EPSILONS = (8.0, 1.0)
WIDTH = 256  # directions of an update that the attacker keeps


def from_detector(setting: Setting) -> tuple[Row, ...]:
    """Attack a detector without and with identity adversarial training (IAT)."""
    rows: list[Row] = []
    for name, scale in (("no IAT", 0.0), ("IAT", REVERSAL)):
        model = fresh(setting.seed, len(setting.people.subjects))
        config = settings_of(setting.effort.epochs, scale)
        finetune(model, setting.people, config, device=CPU, seed=setting.seed)
        known, new = (_surfaces(model, d) for d in (setting.people, setting.new_people))
        for surface, evidence in known.items():
            rows += _named(f"{surface}, {name}", evidence, is_baseline=not scale)
        for surface, evidence in new.items():
            rows.append(_verified(f"{surface} of new people, {name}", evidence, not scale))
    return tuple(rows)


def from_updates(setting: Setting) -> tuple[Row, ...]:
    """Attack updates that each hold one step on some frames of one person.

    The smallest site there can be, so the strongest case. The attacker projects each update at
    random; lengths and overlaps survive that (Johnson and Lindenstrauss).
    """
    start = shared_weights(setting)
    known, new = (_updates(start, d, setting) for d in (setting.people, setting.new_people))
    rows = _named("update, no noise", known["no noise"], is_baseline=True)
    rows.append(_verified("update of new people, no noise", new["no noise"], True))
    for epsilon in EPSILONS:
        name = f"epsilon {epsilon:g} a step"
        rows += _named(f"update, {name}", known[name], is_baseline=False)
        rows.append(_verified(f"update of new people, {name}", new[name], False))
    return tuple(rows)


def _surfaces(model: IATModel, dataset: FrameDataset) -> dict[str, Evidence]:
    found, features = predict(model, dataset, device=CPU)
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    clipped = np.clip(found.probabilities, 1e-7, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    return {
        "features": Evidence(features, found.subjects, recordings),
        "AU logits": Evidence(logits, found.subjects, recordings),
    }


def _updates(start: IATModel, dataset: FrameDataset, setting: Setting) -> dict[str, Evidence]:
    """Return the updates of small steps, without noise and with that of each epsilon."""
    frames, people, recordings = _parts(dataset)
    gradients = gradients_of(start, dataset, frames)  # (N, P), of unit length
    generator = torch.Generator().manual_seed(setting.seed)
    directions = torch.randn(gradients.shape[1], WIDTH, generator=generator) / math.sqrt(WIDTH)
    found = {"no noise": gradients}
    for epsilon in EPSILONS:
        noise = plan_of(epsilon, 1, 1).noise_multiplier
        chance = SimulationChance(setting.seed)
        found[f"epsilon {epsilon:g} a step"] = add_noise(
            gradients.flatten(), noise, chance
        ).view_as(gradients)
    return {
        name: Evidence((g @ directions).double().numpy(), people, recordings)
        for name, g in found.items()
    }


def _parts(dataset: FrameDataset) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Split each recording's frames into overlapping parts. Shapes: (N, R), (N,), (N,)."""
    index = np.unique(dataset.recording_ids, return_inverse=True)[1]
    frames, people, recordings = [], [], []
    for recording in np.unique(index):
        own = np.flatnonzero(index == recording)
        size = max(2, len(own) // 2)
        for first in np.linspace(0, len(own) - size, UPDATES).round().astype(int):
            frames.append(torch.from_numpy(own[first : first + size]))
            people.append(int(dataset.identities[own[0]]))
            recordings.append(recording)
    return torch.stack(frames), np.array(people, np.int64), np.array(recordings, np.int64)


def _named(against: str, evidence: Evidence, *, is_baseline: bool) -> list[Row]:
    """Name people by each attacker. A baseline must succeed for the linear one."""
    rows = []
    for name in ATTACKERS:
        found = attack(name, evidence)
        must = is_baseline and name == "linear"
        rows.append(
            Row.of(f"{against}: {name}", "named rightly", found.accuracy, found.chance,
                   is_baseline=must, is_reference=is_baseline)
        )  # fmt: skip
    return rows


def _verified(against: str, evidence: Evidence, is_baseline: bool) -> Row:
    score = verify(evidence).equal_error_rate
    must = is_baseline and "logits" not in against
    return Row.of(
        against, "EER", score, 0.5,
        is_baseline=must, is_reference=is_baseline, wants_less=True,
    )  # fmt: skip
