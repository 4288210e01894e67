"""From predictions to a result: every measure under every protocol asked for. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.calibration import calibration_scores
from core_model.evaluation.cooccurrence import co_occurrence
from core_model.evaluation.metrics import (
    Predictions,
    counts_by_subject,
    f1_from_counts,
    f1_scores,
)
from core_model.evaluation.protocol import (
    Choice,
    Epoch,
    best_f1,
    clean,
    inflation,
    macro_f1,
    paper,
)
from core_model.evaluation.ranking import ranking_scores
from core_model.evaluation.result import (
    Company,
    EpochRow,
    InflationRow,
    Measure,
    Measures,
    Person,
    ProtocolResult,
    Reliability,
)
from core_model.evaluation.thresholds import ThresholdPolicy

ProtocolName = Literal["clean", "paper"]


def shared_aus(model_aus: tuple[int, ...], test: Predictions) -> dict[int, str]:
    """Return the AUs of a model that cannot be scored on ``test``, and why not."""
    scorable = test.scorable()
    reasons = {}
    for au in model_aus:
        if au not in scorable:
            known = test.known[:, test.action_units.index(au)] > 0.5
            reasons[au] = "only one label occurs" if known.any() else "not labelled here"
    return reasons


def run_protocols(
    epochs: Sequence[Epoch], names: Sequence[ProtocolName], policy: ThresholdPolicy | None
) -> dict[ProtocolName, ProtocolResult]:
    """Return the result of each protocol. ``policy`` is that of the clean one, None its default."""
    choices: dict[ProtocolName, Choice] = {}
    for name in names:
        choices[name] = paper(epochs) if name == "paper" else clean(epochs, policy)
    return {name: measure(choice) for name, choice in choices.items()}


def measure(choice: Choice) -> ProtocolResult:
    """Return every measure under one choice of epoch and thresholds."""
    p, thresholds = choice.epoch.test, choice.thresholds
    macro, per_au = measures(p, thresholds)
    calibration = calibration_scores(p)
    reliability = {
        au: Reliability(
            num_frames=tuple(int(n) for n in calibration.bins.num_frames[a]),
            mean_probability=tuple(calibration.bins.mean_probability[a].tolist()),
            share_occurring=tuple(calibration.bins.share_occurring[a].tolist()),
        )
        for a, au in enumerate(p.scorable())
    }
    company = co_occurrence(p, thresholds)
    return ProtocolResult(
        epoch=choice.epoch.number,
        epoch_rule=choice.epoch_rule,
        threshold_policy=choice.threshold_policy,
        thresholds={
            au: float(t) for au, t in zip(p.action_units, thresholds.tolist(), strict=True)
        },
        warning=choice.warning,
        macro=macro,
        per_au=per_au,
        always_f1=always(p),
        reliability=reliability,
        company=Company(
            false_alarms=_rows(company.false_alarms),
            hits=_rows(company.hits),
            f1_by_others=tuple(company.f1_by_others.tolist()),
            frames_by_others=tuple(company.frames_by_others.tolist()),
        ),
        people=people(p, thresholds),
    )


def measures(p: Predictions, thresholds: Floats) -> tuple[Measures, dict[int, Measures]]:
    """Return the macro means and the measures of each AU, with intervals by subject."""
    f1, macro_f1_score = f1_scores(p, thresholds)
    ranking, calibration = ranking_scores(p), calibration_scores(p)
    macro = {
        "f1": macro_f1_score,
        "auc": ranking.macro_auc,
        "average_precision": ranking.macro_average_precision,
        "calibration_error": calibration.macro_error,
        "brier": calibration.macro_brier,
    }
    each = {
        "f1": f1,
        "auc": ranking.auc,
        "average_precision": ranking.average_precision,
        "calibration_error": calibration.error,
        "brier": calibration.brier,
    }
    per_au = {
        au: {name: Measure.of(scores[au]) for name, scores in each.items()} for au in p.scorable()
    }
    return {name: Measure.of(score) for name, score in macro.items()}, per_au


def always(p: Predictions) -> dict[int, float]:
    """Return the F1 of saying 'always': 2r / (1 + r) for a rate r. Read any F1 against it."""
    known = p.known > 0.5
    rates = (known & (p.aus > 0.5)).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return {au: float(2 * r / (1 + r)) for au, r in zip(p.action_units, rates, strict=True)}


def people(p: Predictions, thresholds: Floats) -> tuple[Person, ...]:
    """Return F1 of each person, worst first. Numbers are ranks: they lead back to nobody."""
    f1 = f1_from_counts(counts_by_subject(p, thresholds))  # (S, A)
    defined = np.isfinite(f1)
    macro = np.divide(
        np.where(defined, f1, 0).sum(axis=1), defined.sum(axis=1),
        out=np.full(len(f1), np.nan), where=defined.any(axis=1),
    )  # fmt: skip
    frames = np.unique(p.subjects, return_counts=True)[1]
    order = np.argsort(macro, kind="stable")
    return tuple(
        Person(number=rank, f1=float(macro[s]), num_frames=int(frames[s]))
        for rank, s in enumerate(order, start=1)
    )


def inflation_rows(epochs: Sequence[Epoch]) -> tuple[InflationRow, ...]:
    """Return the same run reported in every way."""
    return tuple(
        InflationRow(
            epoch=row.choice.epoch.number,
            epoch_rule=row.choice.epoch_rule,
            threshold_policy=row.choice.threshold_policy,
            macro_f1=row.macro_f1,
            warning=row.choice.warning,
        )
        for row in inflation(epochs)
    )


def epoch_rows(epochs: Sequence[Epoch]) -> tuple[EpochRow, ...]:
    """Return macro F1 after each epoch, with a clean threshold and with the best one afterwards."""
    return tuple(
        EpochRow(
            epoch=e.number,
            validation_threshold=macro_f1(e.test, clean([e]).thresholds),
            test_swept=best_f1(e.test),
        )
        for e in epochs
    )


def _rows(table: Floats) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
