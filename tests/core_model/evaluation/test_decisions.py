"""Decisions with and without the detector, and what a pilot's figures lead to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core_model.evaluation.decisions import (
    Decision,
    effect_of,
    mcnemar_exact,
    rate,
    read_decisions,
)
from core_model.evaluation.pilot import (
    Costs,
    DetectorFacts,
    PolicyFacts,
    cost_of,
    recommend,
)
from core_model.evaluation.result import Measure, ModelFacts


@given(better=st.integers(0, 40), worse=st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_test(better, worse) -> None:
    want = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar_exact(better, worse) == pytest.approx(want)
    assert mcnemar_exact(better, worse) == mcnemar_exact(worse, better)


@given(hits=st.integers(0, 50), missed=st.integers(0, 50))
def test_intervals_of_rates_are_wilsons(hits, missed) -> None:
    if hits + missed == 0:
        assert rate(hits, 0) is None
        return
    want = stats.binomtest(hits, hits + missed).proportion_ci(method="wilson")
    got = rate(hits, hits + missed)
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-9)


def cases(**counts):
    """Return cases by truth, without, with: ``t101=5`` is five that were found only with it."""
    return [
        Decision(*(digit == "1" for digit in name[1:]))
        for name, number in counts.items() for _ in range(number)
    ]  # fmt: skip


def test_sensitivity_and_specificity_by_hand() -> None:
    found = effect_of(cases(t111=6, t101=3, t110=1, t000=8, t010=1, t001=1))
    assert (found.sensitivity_without.hits, found.sensitivity_without.of) == (7, 10)
    assert found.sensitivity_with.value == 0.9
    assert found.specificity_without.value == found.specificity_with.value == 0.9
    assert (found.all_cases.better, found.all_cases.worse) == (4, 2)
    assert found.positives.p_value == pytest.approx(mcnemar_exact(3, 1))
    only_ill = effect_of(cases(t111=2))
    assert only_ill.specificity_with is None


BROKEN = {
    "another column": ("case,truth,before,with\nc,1,0,1\n", "expected columns"),
    "a word": ("case,truth,without,with\nc,1,no,1\n", "line 2: expected 0 or 1"),
    "a case twice": ("case,truth,without,with\nc,1,0,1\nc,1,0,1\n", "line 3.*twice"),
    "a row too short": ("case,truth,without,with\nc,1,0\n", "line 2"),
    "nothing": ("case,truth,without,with\n", "no case"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_tables_of_decisions(tmp_path, text, message) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_decisions(path)


def test_a_table_of_decisions_is_read(tmp_path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("\ufeffcase,truth,without,with\r\nc1,1,0,1\r\nc2,0,0,0\r\n", encoding="utf-8")
    assert read_decisions(path) == (Decision(True, False, True), Decision(False, False, False))


def test_costs_add_up() -> None:
    costs = Costs(
        fixed=100, per_subject=20, per_labelled_minute=30, per_machine_hour=2, machine_hours=5,
        frames_per_second=10,
    )  # fmt: skip
    got = cost_of(costs, subjects=4, labelled_frames=3000)
    assert got.labelled_minutes == 5
    assert got.total == 100 + 80 + 150 + 10
    assert (got.per_labelled_minute, got.per_subject) == (68, 85)
    nothing = cost_of(costs, 0, 0)
    assert (nothing.per_labelled_minute, nothing.per_subject, nothing.total) == (None, None, 110)


# --- what to do next -----------------------------------------------------------------------------

POLICY = PolicyFacts(title="t", outcome="allow", may_go_ahead=True, why_not=None, findings=())
MODEL = ModelFacts(name="m", digest="d", licence="l", run_id="r", num_epochs=1, image_size=32)


def detector(low=0.6, value=0.65, high=0.7, people=12, on="test people"):
    measure = Measure(value=value, low=low, high=high)
    return DetectorFacts(
        model=MODEL, tested_on=on, num_people=people, num_frames=100, threshold="0.5",
        macro_f1=measure, f1={1: measure}, always_f1={1: 0.5, 2: 0.9}, left_out={2: "x"},
    )  # fmt: skip


GOOD = effect_of(cases(t111=20, t101=9, t110=1, t000=30))
NEXT = {
    "all is well": (POLICY, detector(), GOOD, "widen", "improved"),
    "denied": (
        POLICY.model_copy(update={"outcome": "deny", "may_go_ahead": False, "why_not": "law"}),
        detector(), GOOD, "stop", "deny",
    ),
    "no better than yes": (POLICY, detector(0.3, 0.4, 0.5), GOOD, "stop", "always saying yes"),
    "decisions got worse": (
        POLICY, detector(), effect_of(cases(t110=9, t101=1)), "stop", "worse",
    ),
    "under review": (
        POLICY.model_copy(update={"outcome": "review", "may_go_ahead": False, "why_not": "x"}),
        detector(), GOOD, "go on", "may not go ahead yet",
    ),
    "people who chose": (POLICY, detector(on="people held out"), GOOD, "go on", "chose the epoch"),
    "few people": (POLICY, detector(people=3), GOOD, "go on", "3 people"),
    "not clearly better": (POLICY, detector(0.45), GOOD, "go on", "not clearly above"),
    "no interval": (POLICY, detector(None, 0.6, None), GOOD, "go on", "not clearly above"),
    "no decisions": (POLICY, detector(), None, "go on", "nobody measured"),
    "few changes": (POLICY, detector(), effect_of(cases(t101=5, t000=9)), "go on", "changed 5"),
    "no clear effect": (
        POLICY, detector(), effect_of(cases(t101=6, t110=4, t000=9)), "go on", "no clear effect",
    ),
    "only ill": (POLICY, detector(), effect_of(cases(t101=9)), "go on", "cannot show specificity"),
    "specificity fell": (
        POLICY, detector(), effect_of(cases(t101=20, t000=8, t001=2)), "go on", "specificity fell",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "found", "effect", "advice", "reason"), NEXT.values(), ids=NEXT.keys()
)
def test_what_to_do_next(policy, found, effect, advice, reason) -> None:
    got = recommend(policy, found, effect)
    assert got.advice == advice
    assert any(reason in r for r in got.reasons), got.reasons
