"""Audit the private loop as it is installed: canary people through it, once, and a replay.

The loop, its sampler, clipper and noise are those of real rounds; only who takes part is made up,
and chance is seeded so that a run can be told again.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from core_model.config import FinetuneConfig, OptimiserConfig
from core_model.data.frames import FrameDataset
from core_model.data.labels import Labels, write_labels
from core_model.data.recordings import Recording
from core_model.nn.iat import IATModel
from core_model.nn.weights import schema_of
from core_model.privacy.accounting import calibrate
from core_model.privacy.audit import Audit, GradientWatcher, audit, directions, scores
from core_model.privacy.chance import SimulationChance
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.replay import Replay, replay
from core_model.privacy.sampling import SubjectSampler
from core_model.privacy.scope import trainable
from core_model.training.private import FinetuningLoss, finetune_privately

CPU = torch.device("cpu")
DELTA, STEPS = 1e-4, 2
SPREAD = 2.0  # deviation of the AU head: gradients of different people then hardly overlap
REPLAYED = 12  # people in the step that is replayed
SETTINGS = FinetuneConfig(
    reversal_scale=0.0, drop_path=0.0, augment=False,
    optimiser=OptimiserConfig(learning_rate=1e-6, batch_size=128),
)  # fmt: skip


class Canaries(NamedTuple):
    """Canary people, a detector, and each canary's clipped gradient."""

    recordings: list[Recording]
    model: IATModel
    everybody: FrameDataset
    plan: PrivacyPlan
    group: ClipGroup
    loss: FinetuningLoss
    frames: Tensor
    gradients: Tensor


def prepare(model: IATModel, epsilon: float, number: int, folder: Path) -> Canaries:
    """Make canary people for a detector, and a plan that promises ``epsilon``.

    Args:
        model: Left as it was; a copy is audited, with a head that tells canaries apart.
        epsilon: Promised to each canary, at delta 1e-4.
        number: Of canaries.
        folder: Where their images go.
    """
    model = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(model.au_head.weight, std=SPREAD)
    aus, side = model.action_units, model.encoder.config.image_size
    recordings = write_canaries(folder, number, side, aus)
    # Everybody in every step: what a canary gives away is then a matter of noise alone.
    noise = calibrate(epsilon, sampling_rate=1.0, steps=STEPS, delta=DELTA)
    plan = PrivacyPlan(
        sampling_rate=1.0, nominal_units=number, frames_per_subject=2, steps_per_round=STEPS,
        noise_multiplier=noise, delta=DELTA, scope="full",
    )  # fmt: skip
    everybody = FrameDataset(recordings, side, aus)
    group = ClipGroup(trainable(schema_of(model), plan), plan.clip_norm)
    loss = FinetuningLoss(model, everybody, SETTINGS, plan, CPU, torch.Generator())
    frames = SubjectSampler(everybody.identities, plan, SimulationChance(0)).draw().frames
    gradients = directions(model, group, plan, loss, frames)
    return Canaries(recordings, model, everybody, plan, group, loss, frames, gradients)


def run_audit(canaries: Canaries, seed: int, *, noise_share: float = 1.0) -> Audit:
    """Toss coins, train the people that they put in by the private loop, and guess the coins.

    Args:
        canaries: From ``prepare``.
        seed: Of coins and noise.
        noise_share: Of the noise that the promise needs; less is a fault put in on purpose.
    """
    plan, chance = canaries.plan, SimulationChance(seed)
    included = chance.bernoulli(len(canaries.recordings), 0.5)
    subjects = canaries.everybody.subjects
    people = {s for s, is_in in zip(subjects, included, strict=True) if is_in}
    dataset = FrameDataset(
        [r for r in canaries.recordings if r.subject_id in people],
        canaries.model.encoder.config.image_size, canaries.model.action_units,
    )  # fmt: skip
    watchers: list[GradientWatcher] = []

    def optimiser_of(
        weights: Iterable[tuple[str, nn.Parameter]], _: OptimiserConfig, __: int
    ) -> torch.optim.Optimizer:
        watchers.append(GradientWatcher(weights))
        return watchers[0]

    used = plan.model_copy(update={"noise_multiplier": plan.noise_multiplier * noise_share})
    finetune_privately(
        copy.deepcopy(canaries.model), dataset, SETTINGS, used,
        device=CPU, chance=chance, charge=lambda _: None, optimiser_of=optimiser_of,
    )  # fmt: skip
    ranked = scores(canaries.gradients, watchers[0].seen, plan, STEPS)
    return audit(ranked, included, plan.delta)


def run_replay(canaries: Canaries) -> Replay:
    """Leave out each of some canaries from a step of the same loss and weights."""
    frames = canaries.frames[:REPLAYED]
    return replay(canaries.model, [canaries.group], canaries.loss, frames, canaries.plan.clipping)


def audit_model(model: IATModel, epsilon: float, number: int, seed: int) -> tuple[Audit, Replay]:
    """Audit the private loop on a detector; see ``prepare``."""
    with tempfile.TemporaryDirectory() as folder:
        canaries = prepare(model, epsilon, number, Path(folder))
        return run_audit(canaries, seed), run_replay(canaries)


def write_canaries(folder: Path, number: int, side: int, aus: Sequence[int]) -> list[Recording]:
    """Write people who are like nobody: one image of black and white noise each, labels at random.

    Their gradients hardly overlap, so each shows in a sum of all.
    """
    chance, recordings = np.random.default_rng(0), []
    for person in range(number):
        frames = folder / f"canary-{person}"
        frames.mkdir()
        image = chance.choice(np.array([0, 255], np.uint8), (side, side, 3))
        cv2.imwrite(str(frames / "000001.png"), image)
        values = chance.choice(np.array([0, 5], np.int8), (1, len(aus)))
        write_labels(folder / f"{person}.csv", Labels(tuple(aus), np.array([1]), values))
        recordings.append(
            Recording(
                recording_id=frames.name, subject_id=frames.name, frames=frames,
                labels=folder / f"{person}.csv", licence="CC0-1.0",
            )
        )  # fmt: skip
    return recordings
