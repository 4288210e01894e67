"""Does the mechanism keep its promise? Canary people, and the same step without one person."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from core_model.evaluation.attack_result import Row
from core_model.evaluation.metrics import Score
from core_model.nn.weights import schema_of
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.replay import TOLERANCE, replay
from core_model.privacy.scope import trainable
from core_model.training.audit_run import Canaries, prepare, run_audit
from core_model.training.private import FinetuningLoss
from simulations.attacks.setting import CPU, Setting
from simulations.attacks.training import (
    frames_of_people,
    fresh,
    plan_of,
    settings_of,
    shared_weights,
)

PROMISE = 1.0
NO_NOISE, QUARTER = 1e-9, 0.25
FRAMES = 4  # of a person in the step
NONE = float("nan")


def canaries(setting: Setting) -> tuple[Row, ...]:
    """Audit the loop in one run, as it is and with faults put in (arXiv 2305.08846)."""
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(fresh(setting.seed), PROMISE, setting.effort.canaries, Path(folder))
        return (
            _bound("no noise (a fault put in)", made, setting, NO_NOISE),
            _bound("a quarter of the noise (a fault put in)", made, setting, QUARTER),
            _bound("as it is", made, setting, 1.0),
        )


def neighbours(setting: Setting) -> tuple[Row, ...]:
    """Leave out each person from a step; compare with what the noise is made for."""
    model, people = shared_weights(setting), setting.people
    plan = plan_of(PROMISE, 1, len(people.subjects))
    loss = FinetuningLoss(model, people, settings_of(), plan, CPU, torch.Generator())
    names = trainable(schema_of(model), plan)
    frames = frames_of_people(people, FRAMES)
    group = [ClipGroup(names, plan.clip_norm)]
    each, owner = frames.reshape(-1, 1), torch.arange(len(frames)).repeat_interleave(FRAMES)
    rows = [
        ("frames clipped instead of people (a fault put in)",
         replay(model, group, loss, each, "automatic", owner), True),
        ("as it is, automatic clipping", replay(model, group, loss, frames, "automatic"), False),
        ("as it is, hard clipping", replay(model, group, loss, frames, "hard"), False),
    ]  # fmt: skip
    return tuple(
        Row.of(
            against, "moved / promised", Score(v.largest, NONE, NONE), 1 + TOLERANCE, is_baseline=b
        )
        for against, v, b in rows
    )


def _bound(against: str, made: Canaries, setting: Setting, noise_share: float) -> Row:
    found = run_audit(made, setting.seed, noise_share=noise_share)
    score = Score(found.least_epsilon, NONE, NONE)
    # A quarter may stay below the promise with few canaries: no noise at all may not.
    is_sure = noise_share == NO_NOISE
    return Row.of(
        f"{against}: {found.right} of {found.guesses} coins", "epsilon is at least (95 %)",
        score, PROMISE, is_baseline=is_sure, is_reference=noise_share < 1,
    )  # fmt: skip
