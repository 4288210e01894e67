"""Every measure against scikit-learn, on random inputs with ties and unknown labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    recall_score,
    roc_auc_score,
)

from core_model.evaluation.bootstrap import draw_people
from core_model.evaluation.calibration import NUM_BINS, calibration_scores
from core_model.evaluation.cooccurrence import MIN_FRAMES, MOST_OTHERS, co_occurrence
from core_model.evaluation.metrics import Predictions, f1_scores
from core_model.evaluation.ranking import areas, ranking_scores
from core_model.evaluation.thresholds import (
    GRID,
    choose_thresholds,
    f1_by_threshold,
    warning_of,
)
from tests.core_model.evaluation.people import predictions


@st.composite
def worlds(draw):
    p = predictions(
        draw(st.integers(0, 10**6)), people=draw(st.integers(2, 8)),
        frames=draw(st.integers(5, 40)), skill=draw(st.floats(0, 2)),
        known=draw(st.floats(0.5, 1)),
    )  # fmt: skip
    digits = draw(st.integers(1, 3))  # few digits make ties
    return Predictions(p.action_units, p.probabilities.round(digits), p.aus, p.known, p.subjects)


def columns(p):
    """Yield each AU that can be scored with its known labels and probabilities."""
    for au in p.scorable():
        a = p.action_units.index(au)
        known = p.known[:, a] > 0
        yield au, p.aus[known, a] > 0, p.probabilities[known, a]


@settings(deadline=None, max_examples=60)
@given(p=worlds())
def test_auc_and_average_precision_agree_with_scikit_learn(p) -> None:
    if not p.scorable():
        return
    got = ranking_scores(p, resamples=2)
    for au, occurs, probability in columns(p):
        assert got.auc[au].value == pytest.approx(roc_auc_score(occurs, probability))
        want = average_precision_score(occurs, probability)
        assert got.average_precision[au].value == pytest.approx(want)


@settings(deadline=None, max_examples=60)
@given(p=worlds(), seed=st.integers(0, 1000))
def test_weighted_areas_agree_with_scikit_learn(p, seed) -> None:
    """A frame drawn twice weighs twice: what the bootstrap relies on."""
    weights = draw_people(len(np.unique(p.subjects)), 3, seed)[:, p.subjects]
    for au, occurs, probability in columns(p):
        known = p.known[:, p.action_units.index(au)] > 0
        got = areas(probability, occurs, weights[:, known])
        for r, weight in enumerate(weights[:, known]):
            if weight[occurs].sum() == 0 or weight[~occurs].sum() == 0:
                assert np.isnan(got.auc[r])
                assert np.isnan(got.average_precision[r])
                continue
            want = roc_auc_score(occurs, probability, sample_weight=weight)
            assert got.auc[r] == pytest.approx(want)
            want = average_precision_score(occurs, probability, sample_weight=weight)
            assert got.average_precision[r] == pytest.approx(want)


@settings(deadline=None, max_examples=60)
@given(p=worlds())
def test_calibration_agrees_with_scikit_learn(p) -> None:
    if not p.scorable():
        return
    got = calibration_scores(p, resamples=2)
    for a, (au, occurs, probability) in enumerate(columns(p)):
        assert got.brier[au].value == pytest.approx(brier_score_loss(occurs, probability))
        inside = probability[(probability * NUM_BINS) % 1 != 0]  # off the edges, where sides differ
        if len(inside) < len(probability):
            continue
        share, mean = calibration_curve(occurs, probability, n_bins=NUM_BINS)
        used = got.bins.num_frames[a] > 0
        np.testing.assert_allclose(got.bins.share_occurring[a][used], share)
        np.testing.assert_allclose(got.bins.mean_probability[a][used], mean)
        error = (got.bins.num_frames[a][used] * np.abs(share - mean)).sum() / len(occurs)
        assert got.error[au].value == pytest.approx(error)


def test_a_calibrated_detector_has_little_error_and_a_sure_one_much() -> None:
    chance = np.random.default_rng(0)
    probability = chance.random((20_000, 1))
    occurs = (chance.random(probability.shape) < probability).astype(float)
    subjects = np.arange(20_000) % 20
    honest = Predictions((1,), probability, occurs, np.ones_like(occurs), subjects)
    sure = Predictions((1,), (probability > 0.5) * 1.0, occurs, np.ones_like(occurs), subjects)
    assert calibration_scores(honest).macro_error.value < 0.02
    assert calibration_scores(sure).macro_error.value == pytest.approx(0.25, abs=0.02)


@settings(deadline=None, max_examples=40)
@given(p=worlds())
def test_threshold_sweeps_agree_with_scikit_learn(p) -> None:
    if not ((p.aus > 0) & (p.known > 0)).any():
        return
    table = f1_by_threshold(p)
    for a in range(len(p.action_units)):
        known = p.known[:, a] > 0
        occurs = p.aus[known, a] > 0
        if not occurs.any():
            assert np.isnan(table[:, a]).all()
            continue
        for t in (4, 49, 79):
            want = f1_score(occurs, p.probabilities[known, a] >= GRID[t])
            assert table[t, a] == pytest.approx(want)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_a_threshold_swept_on_the_test_people_is_never_worse_there(seed) -> None:
    test, validation = predictions(seed), predictions(seed + 1)
    macro = {
        policy: f1_scores(test, choose_thresholds(policy, validation, test), resamples=2)[1].value
        for policy in ("fixed_0.5", "val_swept_common", "test_swept")
    }
    assert macro["test_swept"] >= max(macro.values()) - 1e-12
    assert macro["test_swept"] == pytest.approx(f1_by_threshold(test).mean(axis=1).max())
    per_au = choose_thresholds("val_swept_per_au", validation, test)
    own = f1_scores(validation, per_au, resamples=2)[1].value
    common = choose_thresholds("val_swept_common", validation, test)
    assert own >= f1_scores(validation, common, resamples=2)[1].value - 1e-12


def test_only_the_test_swept_policy_carries_a_warning() -> None:
    assert "too good to be true" in warning_of("test_swept")
    assert warning_of("val_swept_per_au") is warning_of("fixed_0.5") is None
    p = predictions()
    with pytest.raises(ValueError, match="--validation"):
        choose_thresholds("val_swept_common", None, p)


def test_co_occurrence_agrees_with_scikit_learn() -> None:
    p = predictions(3, people=10, frames=60, known=1.0)
    got = co_occurrence(p, np.full(3, 0.5))
    found, occurs = p.probabilities >= 0.5, p.aus > 0
    for a in range(3):
        assert got.hits[a, a] == pytest.approx(recall_score(occurs[:, a], found[:, a]))
        for b in {0, 1, 2} - {a}:
            both, only = occurs[:, a] & occurs[:, b], ~occurs[:, a] & occurs[:, b]
            assert got.hits[a, b] == pytest.approx(found[both, a].mean())
            assert got.false_alarms[a, b] == pytest.approx(found[only, a].mean())
    alone = [(occurs.sum(axis=1) - occurs[:, a]) == 0 for a in range(3)]
    want = np.mean([f1_score(occurs[alone[a], a], found[alone[a], a]) for a in range(3)])
    assert got.f1_by_others[0] == pytest.approx(want)
    assert len(got.f1_by_others) == MOST_OTHERS + 1


def test_few_frames_say_nothing_about_company() -> None:
    p = predictions(4, people=2, frames=MIN_FRAMES // 4)
    assert np.isnan(co_occurrence(p, np.full(3, 0.5)).hits).all()


def test_unknown_labels_count_in_no_measure() -> None:
    p = predictions(5)
    other = Predictions(
        p.action_units, np.where(p.known > 0, p.probabilities, 1 - p.probabilities),
        np.where(p.known > 0, p.aus, 1 - p.aus), p.known, p.subjects,
    )  # fmt: skip
    assert ranking_scores(p) == ranking_scores(other)
    assert calibration_scores(p).error == calibration_scores(other).error
    half = np.full(3, 0.5)
    np.testing.assert_equal(co_occurrence(p, half).hits, co_occurrence(other, half).hits)
