"""Run the attacks one after another. What is done stays done, one file for each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import torch
from pydantic import ValidationError

from core_model.evaluation.attack_result import AttackName, AttackResult, Row
from simulations.attacks import identity, inversion, linkage, mechanism, membership
from simulations.attacks.setting import Setting

ATTACKS: tuple[AttackName, ...] = get_args(AttackName)
Tell = Callable[[AttackName, int], None]


@dataclass(frozen=True)
class Attack:
    """How it is run, and how to read it."""

    run: Callable[[Setting], tuple[Row, ...]]
    question: str
    means: str


HOW: dict[AttackName, Attack] = {
    "model-membership": Attack(
        membership.from_models,
        "Was this person trained on? The attacker has the finished model.",
        "Shadow models on other halves of the people (LiRA). 0.5 is a coin.",
    ),
    "update-membership": Attack(
        membership.from_updates,
        "Was this person in this round? The attacker has what a site sent.",
        "Does the person's own gradient lie in the change of the weights? 0.5 is a coin.",
    ),
    "site-membership": Attack(
        membership.of_sites,
        "Is this site in this round? The attacker knows its people.",
        "Single updates, and the mean that a secure sum would show. 0.5 is a coin.",
    ),
    "canaries": Attack(
        mechanism.canaries,
        "Does the private loop keep a promise of epsilon 1?",
        "One-run audit with canaries. A bound above 1 proves a fault; one below proves nothing.",
    ),
    "replay": Attack(
        mechanism.neighbours,
        "How far does leaving one person out move a step?",
        "Noise off, each person left out once, in units of what the noise is made for.",
    ),
    "identity": Attack(
        identity.from_detector,
        "Who is it? The attacker has features or logits.",
        "Converged attackers, on another recording. EER: of people nobody ever saw, 0.5 is a coin.",
    ),
    "update-identity": Attack(
        identity.from_updates,
        "Whose update is it? Each holds one step on one person.",
        "The smallest site there can be, so the strongest case.",
    ),
    "inversion": Attack(
        inversion.reconstruct,
        "What did the face look like? The attacker has an update of one image.",
        "Closed form where positions train; search where they do not. Guessing: the average face.",
    ),
    "linkage": Attack(
        linkage.link,
        "Whose face is that? Somebody else's recogniser on what was drawn.",
        "Nearest of everybody, photographed another time.",
    ),
}  # fmt: skip


class AttackError(Exception):
    """Results in a folder are of another run, or cannot be read."""


def run_suite(
    setting: Setting, out: Path, names: Sequence[AttackName], tell: Tell
) -> tuple[AttackResult, ...]:
    """Run what is missing; return the results of all ``names``.

    Args:
        setting: People, seed and effort.
        out: Folder; each result is a file in it.
        names: Which attacks.
        tell: Called with an attack and how many are done.

    Raises:
        AttackError: The folder holds results of another seed or effort.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for done, name in enumerate(names):
        tell(name, done)
        result = read_result(out, name)
        if result is None:
            result = _run(name, setting)
            _write(out / f"{name}.json", result.model_dump_json(indent=1))
        elif (result.seed, result.effort) != (setting.seed, setting.effort.name):
            raise AttackError(
                f"{out}: {name} is of seed {result.seed}, effort {result.effort}; "
                "choose another folder with --out"
            )
        results.append(result)
    return tuple(results)


def kept_results(setting: Setting, out: Path) -> tuple[AttackResult, ...]:
    """Return all results in a folder that are of this seed and effort.

    Raises:
        AttackError: One is damaged.
    """
    found = (read_result(out, name) for name in ATTACKS)
    return tuple(
        r for r in found if r and (r.seed, r.effort) == (setting.seed, setting.effort.name)
    )


def read_result(out: Path, name: AttackName) -> AttackResult | None:
    """Return a kept result, if there is one.

    Raises:
        AttackError: It is damaged.
    """
    path = out / f"{name}.json"
    if not path.exists():
        return None
    try:
        return AttackResult.model_validate_json(path.read_text())
    except ValidationError as e:
        raise AttackError(f"{path}: damaged; delete it to run the attack again") from e


def _run(name: AttackName, setting: Setting) -> AttackResult:
    started, how = time.process_time(), HOW[name]
    return AttackResult(
        attack=name, question=how.question, means=how.means, rows=how.run(setting),
        effort=setting.effort.name, seed=setting.seed, seconds=time.process_time() - started,
    )  # fmt: skip


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
