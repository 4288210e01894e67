"""What a pilot came to: cost, F1, decisions, the rules' verdict, and what to do next. No torch.

The recommendation is a rule anyone can check, not a model: every reason is a sentence with its
number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from core_model.config import Settings
from core_model.evaluation.decisions import DecisionEffect
from core_model.evaluation.result import Measure, ModelFacts

MOST_P = 0.05
FEWEST_PEOPLE = 10  # tested on; with fewer, intervals by person say little
FEWEST_CHANGED = 6  # cases: with fewer, no exact test can reach 0.05
ALLOWED_LOSS = 0.05  # of sensitivity or specificity, while the other gains

Advice = Literal["stop", "go on", "widen"]


class Costs(Settings):
    """What the pilot cost, as the operator knows it. All in one currency."""

    currency: str = Field("EUR", min_length=1, max_length=8)
    fixed: float = Field(0.0, ge=0)  # set-up, training of staff, legal review
    per_subject: float = Field(0.0, ge=0)  # recruiting, explaining, paying
    per_labelled_minute: float = Field(0.0, ge=0)  # human coders
    per_machine_hour: float = Field(0.0, ge=0)
    machine_hours: float = Field(0.0, ge=0)
    frames_per_second: float = Field(25.0, gt=0)  # of the recordings: minutes from frames


class CostFacts(Settings):
    """What it came to."""

    currency: str
    subjects: int
    labelled_minutes: float
    parts: dict[str, float]  # fixed, subjects, coding, machine
    total: float
    per_labelled_minute: float | None  # None: nothing is labelled
    per_subject: float | None


class PolicyFacts(Settings):
    """What the site's rules say of its declared use."""

    title: str
    outcome: Literal["allow", "review", "deny"]
    may_go_ahead: bool
    why_not: str | None
    findings: tuple[tuple[str, str], ...]  # rule and reason


class DetectorFacts(Settings):
    """How well AUs are found, on people who agree to evaluation."""

    model: ModelFacts
    tested_on: Literal["test people", "people held out"]
    num_people: int
    num_frames: int
    threshold: str
    macro_f1: Measure
    f1: dict[int, Measure]
    always_f1: dict[int, float]  # of saying 'always'
    left_out: dict[int, str]  # AUs that cannot be scored, and why

    @property
    def mean_always(self) -> float:
        """The macro F1 of a detector that always says yes."""
        scored = [self.always_f1[au] for au in self.f1]
        return sum(scored) / len(scored)


class Recommendation(Settings):
    """What to do next, and why."""

    advice: Advice
    reasons: tuple[str, ...]


class PilotReport(Settings):
    """Everything on the page. Names no person."""

    format: Literal[1] = 1
    site: str
    cost: CostFacts
    detector: DetectorFacts
    effect: DecisionEffect | None
    policy: PolicyFacts
    recommendation: Recommendation


def cost_of(costs: Costs, subjects: int, labelled_frames: int) -> CostFacts:
    """Add up."""
    minutes = labelled_frames / costs.frames_per_second / 60
    parts = {
        "fixed": costs.fixed,
        "subjects": costs.per_subject * subjects,
        "coding": costs.per_labelled_minute * minutes,
        "machine": costs.per_machine_hour * costs.machine_hours,
    }
    total = sum(parts.values())
    return CostFacts(
        currency=costs.currency,
        subjects=subjects,
        labelled_minutes=minutes,
        parts=parts,
        total=total,
        per_labelled_minute=total / minutes if minutes else None,
        per_subject=total / subjects if subjects else None,
    )


def recommend(
    policy: PolicyFacts, detector: DetectorFacts, effect: DecisionEffect | None
) -> Recommendation:
    """Return the advice: stop for any reason to, widen if nothing is missing, else go on."""
    if against := tuple(_against(policy, detector, effect)):
        return Recommendation(advice="stop", reasons=against)
    if missing := tuple(_missing(policy, detector, effect)):
        return Recommendation(advice="go on", reasons=missing)
    assert effect is not None
    changed = effect.all_cases
    return Recommendation(
        advice="widen",
        reasons=(
            f"decisions improved: {changed.better} of {effect.cases} cases were right only with "
            f"the detector, {changed.worse} only without (p = {changed.p_value:.3g})",
            f"macro F1 is above that of always saying yes ({detector.mean_always:.3f}) with its "
            "whole interval",
            "the rules allow the declared use",
        ),
    )


def _against(
    policy: PolicyFacts, detector: DetectorFacts, effect: DecisionEffect | None
) -> Iterator[str]:
    if policy.outcome == "deny":
        yield f"the rules deny the declared use: {policy.why_not}"
    high = detector.macro_f1.high
    if high is not None and high <= detector.mean_always:
        yield (
            "the detector finds no more than always saying yes would: macro F1 at most "
            f"{high:.3f}, always yes {detector.mean_always:.3f}"
        )
    if effect is not None:
        test = effect.all_cases
        if test.worse > test.better and test.p_value < MOST_P:
            yield (
                f"decisions got worse: {test.worse} cases were right only without the detector, "
                f"{test.better} only with it (p = {test.p_value:.3g})"
            )


def _missing(
    policy: PolicyFacts, detector: DetectorFacts, effect: DecisionEffect | None
) -> Iterator[str]:
    if not policy.may_go_ahead:
        yield f"the declared use may not go ahead yet: {policy.why_not}"
    if detector.tested_on == "people held out":
        yield "F1 is of people who chose the epoch: test on others (--test in training)"
    if detector.num_people < FEWEST_PEOPLE:
        yield (
            f"{detector.num_people} people were tested on; with fewer than {FEWEST_PEOPLE} the "
            "intervals say little"
        )
    low = detector.macro_f1.low
    if low is None or low <= detector.mean_always:
        yield "macro F1 is not clearly above always saying yes: collect more people, train longer"
    if effect is None:
        yield "nobody measured decisions: give --decisions a table of cases"
        return
    test = effect.all_cases
    if test.better + test.worse < FEWEST_CHANGED:
        yield (
            f"the detector changed {test.better + test.worse} decisions between right and wrong; "
            f"with fewer than {FEWEST_CHANGED} no test can tell"
        )
    elif test.p_value >= MOST_P or test.better <= test.worse:
        yield f"no clear effect on decisions (p = {test.p_value:.3g}): measure more cases"
    for name, without, with_it in (
        ("sensitivity", effect.sensitivity_without, effect.sensitivity_with),
        ("specificity", effect.specificity_without, effect.specificity_with),
    ):
        if without is None or with_it is None:
            yield f"the cases cannot show {name}: there are none of its kind"
        elif without.value - with_it.value > ALLOWED_LOSS:
            yield f"{name} fell from {without.value:.2f} to {with_it.value:.2f}"
