"""Figures of a round's model on a public set: the job to measure, and what is kept. No torch.

F1 under the clean protocol and the identity probe, a file for each round. Names no person.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from core_model.config import Settings
from core_model.durable import put_in_place
from core_model.evaluation.public_set import PublicSet
from core_model.evaluation.result import DataFacts, Measure
from core_model.evaluation.thresholds import ThresholdPolicy


class ModelToMeasure(Settings):
    """The weights after one round."""

    round: int
    checkpoint: Path
    out: Path  # where its figures go


class Job(Settings):
    """What to measure, in this order."""

    public: PublicSet
    models: tuple[ModelToMeasure, ...]


class ProbeFigures(Settings):
    """How well a converged linear probe names people whom nobody trained on, from features."""

    accuracy: float  # share of frames of recordings that it did not see
    chance: float  # of always naming the person with most frames
    labels: float  # from the true AUs of the frames: what a detector without a mistake gives away
    num_people: int


class RoundFigures(Settings):
    """How good the model of one round is, and how much identity its features hold."""

    format: Literal[1] = 1
    round: int = Field(ge=1)
    model: str  # digest of the weights
    people: str  # digest of the public set
    data: DataFacts
    threshold_policy: ThresholdPolicy
    threshold: float  # one for all AUs
    macro_f1: Measure
    f1: dict[int, Measure]
    always_f1: dict[int, float]  # of saying 'always', for comparison
    left_out: dict[int, str]  # AUs that cannot be scored, and why
    probe: ProbeFigures | None  # None: someone has one recording only, so nothing can be held out
    seconds: float  # that measuring took

    @property
    def mean_always(self) -> float:
        """The macro F1 of a detector that always says yes."""
        return sum(self.always_f1[au] for au in self.f1) / len(self.f1)


def write_figures(path: Path, figures: RoundFigures) -> None:
    """Write the file whole or not at all; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(figures.model_dump_json(indent=2) + "\n")
    put_in_place(draft, path)


def read_figures(path: Path) -> RoundFigures | None:
    """Return what a file holds; None if there is none or it is damaged: then measure anew."""
    try:
        return RoundFigures.model_validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
