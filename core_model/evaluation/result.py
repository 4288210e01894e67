"""What an evaluation found, as it stands in JSON. Names no person; no torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from core_model.config import Settings
from core_model.evaluation.metrics import Score
from core_model.evaluation.protocol import EpochRule
from core_model.evaluation.thresholds import ThresholdPolicy


def _number(value: float | None) -> float | None:
    """JSON has no nan: what is undefined is null."""
    return None if value is None or not math.isfinite(value) else float(value)


Number = Annotated[float | None, BeforeValidator(_number)]


class Measure(Settings):
    """A value with its interval of 95 % by subject; null where it is undefined."""

    value: Number
    low: Number
    high: Number

    @classmethod
    def of(cls, score: Score) -> Measure:
        """Return the measure of a score."""
        return cls(value=score.value, low=score.low, high=score.high)


Measures = dict[str, Measure]
"""By the measure's name: f1, auc, average_precision, calibration_error, brier."""


class ModelFacts(Settings):
    """Which model it was."""

    name: str
    digest: str
    licence: str  # with what it means
    run_id: str | None
    num_epochs: int
    image_size: int


class DataFacts(Settings):
    """Who was tested on. Numbers only."""

    name: str
    num_people: int
    num_recordings: int
    num_frames: int
    num_validation_people: int
    positives: dict[int, int]  # known positive labels of each AU
    licences: tuple[str, ...]  # of the recordings


class Person(Settings):
    """One person, by the rank of their F1: number 1 is the worst."""

    number: int
    f1: Number  # macro, over the AUs that occur or were found
    num_frames: int


class Company(Settings):
    """Rates by the other AUs in the frame; see ``core_model.evaluation.cooccurrence``."""

    false_alarms: tuple[tuple[Number, ...], ...]
    hits: tuple[tuple[Number, ...], ...]
    f1_by_others: tuple[Number, ...]
    frames_by_others: tuple[Number, ...]


class Reliability(Settings):
    """Bins of predicted probability of one AU."""

    num_frames: tuple[int, ...]
    mean_probability: tuple[Number, ...]
    share_occurring: tuple[Number, ...]


class ProtocolResult(Settings):
    """Everything under one choice of epoch and thresholds."""

    epoch: int
    epoch_rule: EpochRule
    threshold_policy: ThresholdPolicy
    thresholds: dict[int, float]
    warning: str | None  # stands beside every figure
    macro: Measures
    per_au: dict[int, Measures]
    always_f1: dict[int, float]  # of saying 'always', for comparison
    reliability: dict[int, Reliability]
    company: Company
    people: tuple[Person, ...]  # worst first


class InflationRow(Settings):
    """The same run, reported in one way."""

    epoch: int
    epoch_rule: EpochRule
    threshold_policy: ThresholdPolicy
    macro_f1: float
    warning: str | None


class EpochRow(Settings):
    """Macro F1 after one epoch."""

    epoch: int
    validation_threshold: Number  # F1 on the test people, threshold by validation people (or 0.5)
    test_swept: Number


class ComparisonResult(Settings):
    """Second model minus first, same people, clean protocol."""

    other: ModelFacts
    macro_f1_difference: Measure
    p_value: float
    num_people: int
    other_macro: Measures
    other_per_au: dict[int, Measures]


class EvaluationResult(Settings):
    """One model on one set of people."""

    format: Literal[1] = 1
    model: ModelFacts
    data: DataFacts
    action_units: tuple[int, ...]
    left_out: dict[int, str]  # AUs of the model that could not be scored, and why
    protocols: dict[Literal["clean", "paper"], ProtocolResult]
    inflation: tuple[InflationRow, ...]
    epochs: tuple[EpochRow, ...]
    comparison: ComparisonResult | None = None
    notes: tuple[str, ...] = Field(())
