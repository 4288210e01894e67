import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from core_model.evaluation.identity import identity_probe
from core_model.evaluation.metrics import (
    Predictions,
    best_common_threshold,
    counts_by_subject,
    f1_from_counts,
    f1_scores,
)


def predictions(chance, frames=60, aus=3, people=6, skill=1.0):
    occurs = (chance.random((frames, aus)) < 0.4).astype(np.float32)
    noise = chance.normal(0, 1, occurs.shape)
    probabilities = 1 / (1 + np.exp(-(skill * (occurs - 0.5) * 2 + noise)))
    known = (chance.random(occurs.shape) < 0.8).astype(np.float32)
    subjects = chance.integers(0, people, frames)
    return Predictions((1, 2, 4)[:aus], probabilities, occurs, known, subjects)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0.05, 0.95))
def test_f1_agrees_with_scikit_learn(seed, threshold) -> None:
    p = predictions(np.random.default_rng(seed))
    thresholds = np.full(3, threshold)
    got = f1_from_counts(counts_by_subject(p, thresholds).sum(axis=0))
    for a in range(3):
        known = p.known[:, a] > 0
        found = p.probabilities[known, a] >= threshold
        want = f1_score(p.aus[known, a] > 0, found, zero_division=np.nan)
        np.testing.assert_allclose(got[a], want)


def test_unknown_labels_do_not_count() -> None:
    p = predictions(np.random.default_rng(0))
    other = Predictions(
        p.action_units, np.where(p.known > 0, p.probabilities, 1 - p.probabilities),
        np.where(p.known > 0, p.aus, 1 - p.aus), p.known, p.subjects,
    )  # fmt: skip
    half = np.full(3, 0.5)
    assert np.array_equal(counts_by_subject(p, half), counts_by_subject(other, half))


def test_aus_without_a_positive_are_left_out() -> None:
    p = predictions(np.random.default_rng(1))
    p.aus[:, 1] = 0
    per_au, macro = f1_scores(p, np.full(3, 0.5))
    assert set(per_au) == {1, 4}
    assert macro.value == pytest.approx((per_au[1].value + per_au[4].value) / 2)


@pytest.mark.slow
def test_intervals_cover_the_truth_at_about_the_nominal_rate() -> None:
    """Draw many small samples of people; the interval should hold the F1 of all people."""
    world = predictions(np.random.default_rng(0), frames=40_000, aus=1, people=2000)
    half = np.full(1, 0.5)
    truth = float(f1_from_counts(counts_by_subject(world, half).sum(axis=0))[0])
    chance, covered = np.random.default_rng(1), 0
    for _ in range(150):
        people = chance.choice(2000, 40, replace=False)
        mine = np.isin(world.subjects, people)
        sample = Predictions(
            (1,), world.probabilities[mine], world.aus[mine], world.known[mine],
            world.subjects[mine],
        )  # fmt: skip
        _, macro = f1_scores(sample, half, resamples=300)
        covered += macro.low <= truth <= macro.high
    assert 0.88 <= covered / 150 <= 1.0


def test_threshold_is_the_best_of_the_grid() -> None:
    p = predictions(np.random.default_rng(2), frames=400, skill=2.0)
    best = best_common_threshold(p)
    score = lambda t: np.nanmean(  # noqa: E731
        f1_from_counts(counts_by_subject(p, np.full(3, t)).sum(axis=0))
    )
    assert all(score(best) >= score(t) for t in np.arange(0.05, 0.96, 0.05))


def test_probe_reads_identity_that_is_there_and_none_that_is_not() -> None:
    chance = np.random.default_rng(3)
    people = np.repeat(np.arange(10), 20)
    recordings = np.repeat(np.arange(20), 10)
    noise = chance.normal(size=(200, 8))
    told = identity_probe(noise + 4 * np.eye(10, 8)[people], people, recordings)
    assert told.accuracy > 0.8
    untold = identity_probe(noise, people, recordings)
    assert untold.accuracy < 0.3
    assert (told.chance, told.num_subjects) == (pytest.approx(0.1), 10)


def test_probe_holds_recordings_apart() -> None:
    """What is only the recording's (a lamp, a shirt) must not count as identity."""
    people, recordings = np.repeat(np.arange(5), 20), np.repeat(np.arange(10), 10)
    features = np.eye(10)[recordings] * 9
    assert identity_probe(features, people, recordings).accuracy < 0.5
    with pytest.raises(ValueError, match="two recordings"):
        identity_probe(features, people, people)
