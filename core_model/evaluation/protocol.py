"""Two protocols side by side: how FMAE-IAT's code reports F1, and how one should. No torch.

'paper': after every epoch the best of 99 thresholds on the *test* people, then the best
epoch. 'clean': the last epoch, and a threshold chosen by validation people who are neither trained
nor tested on. The rows between show what each of the two peeks adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.metrics import Predictions, f1_scores
from core_model.evaluation.thresholds import (
    TEST_SWEPT_WARNING,
    ThresholdPolicy,
    choose_thresholds,
    f1_by_threshold,
)

EpochRule = Literal["last", "best_on_validation", "best_on_test"]
EPOCH_WARNING = "epoch chosen on the people tested on: too good to be true"


@dataclass(frozen=True)
class Epoch:
    """What the weights after one epoch predict."""

    number: int
    test: Predictions
    validation: Predictions | None


@dataclass(frozen=True)
class Choice:
    """An epoch and thresholds, and who was asked for them."""

    epoch: Epoch
    epoch_rule: EpochRule
    threshold_policy: ThresholdPolicy
    thresholds: Floats  # (A,)

    @property
    def warning(self) -> str | None:
        """What must stand beside every figure that comes of this choice."""
        warnings = []
        if self.epoch_rule == "best_on_test":
            warnings.append(EPOCH_WARNING)
        if self.threshold_policy == "test_swept":
            warnings.append(TEST_SWEPT_WARNING)
        return "; ".join(warnings) or None


def paper(epochs: Sequence[Epoch]) -> Choice:
    """Choose as the authors' code does: threshold and epoch of best macro F1 on the test people."""
    return choose(epochs, "best_on_test", "test_swept")


def clean(epochs: Sequence[Epoch], policy: ThresholdPolicy | None = None) -> Choice:
    """Choose without looking at the test people: the last epoch, thresholds by validation people.

    Args:
        epochs: All epochs, first one first.
        policy: How thresholds are chosen; None takes one common threshold by the validation people,
            and 0.5 if there are none.

    Raises:
        ValueError: The policy looks at the test people, or needs validation people.
    """
    if policy == "test_swept":
        raise ValueError("test_swept looks at the test people; the clean protocol does not")
    if policy is None:
        has_validation = epochs[-1].validation is not None
        policy = "val_swept_common" if has_validation else "fixed_0.5"
    return choose(epochs, "last", policy)


def choose(epochs: Sequence[Epoch], rule: EpochRule, policy: ThresholdPolicy) -> Choice:
    """Choose an epoch by ``rule`` and thresholds by ``policy``.

    Raises:
        ValueError: There is no epoch, or no validation people where they are asked.
    """
    if not epochs:
        raise ValueError("no epoch to choose from")
    epoch = epochs[-1]
    if rule == "best_on_test":
        epoch = max(epochs, key=lambda e: best_f1(e.test))
    elif rule == "best_on_validation":
        epoch = max(epochs, key=lambda e: best_f1(_validation(e)))
    return Choice(epoch, rule, policy, choose_thresholds(policy, epoch.validation, epoch.test))


@dataclass(frozen=True)
class Inflation:
    """One way to report the same run."""

    choice: Choice
    macro_f1: float


def inflation(epochs: Sequence[Epoch]) -> tuple[Inflation, ...]:
    """Return macro F1 of the same run under every rule, from the cleanest to the paper's.

    The last row is the paper's; its distance to the first is what the two peeks are worth here.
    """
    ways: list[tuple[EpochRule, ThresholdPolicy]] = [("last", "fixed_0.5")]
    if epochs[-1].validation is not None:
        ways += [
            ("last", "val_swept_common"),
            ("last", "val_swept_per_au"),
            ("best_on_validation", "val_swept_common"),
        ]
    ways.append(("last", "test_swept"))
    if epochs[-1].validation is not None:
        ways.append(("best_on_test", "val_swept_common"))
    ways.append(("best_on_test", "test_swept"))
    choices = [choose(epochs, rule, policy) for rule, policy in ways]
    return tuple(Inflation(c, macro_f1(c.epoch.test, c.thresholds)) for c in choices)


def macro_f1(p: Predictions, thresholds: Floats) -> float:
    """Return macro F1 over the AUs with a positive label."""
    return f1_scores(p, thresholds, resamples=1)[1].value


def best_f1(p: Predictions) -> float:
    """Return the macro F1 of the best common threshold: what sweeping on ``p`` reports."""
    return float(np.nanmean(f1_by_threshold(p), axis=1).max())


def _validation(epoch: Epoch) -> Predictions:
    if epoch.validation is None:
        raise ValueError("best_on_validation needs validation people: give them with --validation")
    return epoch.validation
