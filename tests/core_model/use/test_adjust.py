"""What is done to a person's numbers over time, and what is said in doubt."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.neutral import MAX_SHIFT
from core_model.predictor import UNSURE, Predictor
from core_model.use.adjust import Adjuster
from core_model.use.timeline import MAX_COLUMNS, Timeline, page

REFERENCE = np.array([-2.0, -3.0])


def test_nothing_is_changed_unless_asked_for() -> None:
    adjuster = Adjuster(REFERENCE)
    for t in range(5):
        logits = np.array([0.3 * t, -t])
        got, is_calibrated = adjuster.adjust(1, t + 1, t / 25, logits)
        np.testing.assert_array_equal(got, logits)
        assert not is_calibrated


def test_a_neutral_frame_looks_neutral_afterwards_for_each_person_alone() -> None:
    adjuster = Adjuster(REFERENCE, neutral_frame=2)
    high = np.array([-0.5, -2.5])  # a face whose rest looks like AU 1
    assert adjuster.adjust(1, 1, 0.0, high)[1] is False  # the frame is still to come
    np.testing.assert_allclose(adjuster.adjust(1, 2, 0.04, high)[0], REFERENCE)
    np.testing.assert_allclose(adjuster.adjust(1, 3, 0.08, high + 1)[0], REFERENCE + 1)
    got, is_calibrated = adjuster.adjust(2, 3, 0.08, high)  # came later
    assert not is_calibrated
    assert got[0] == high[0]


def test_a_frame_far_from_neutral_does_not_turn_everything_over() -> None:
    adjuster = Adjuster(REFERENCE, neutral_frame=1)
    got, _ = adjuster.adjust(1, 1, 0.0, np.array([8.0, -3.0]))
    np.testing.assert_allclose(got, [8.0 - MAX_SHIFT, -3.0])


def test_a_model_without_neutral_faces_refuses_the_calibration() -> None:
    with pytest.raises(ValueError, match="without --neutral"):
        Adjuster(None, neutral_frame=1)


@given(st.floats(0.01, 2.0), st.lists(st.floats(-5, 5), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_smoothing_stays_between_what_it_saw(smooth_s, values) -> None:
    adjuster = Adjuster(None, smooth_s=smooth_s)
    for t, value in enumerate(values):
        got, _ = adjuster.adjust(1, t + 1, t / 25, np.array([value]))
        assert min(values[: t + 1]) - 1e-9 <= got[0] <= max(values[: t + 1]) + 1e-9


def test_smoothing_follows_a_step_by_two_thirds_in_its_time() -> None:
    adjuster = Adjuster(None, smooth_s=0.2)
    adjuster.adjust(1, 1, 0.0, np.array([0.0]))
    for t in range(1, 6):
        got, _ = adjuster.adjust(1, t + 1, t / 25, np.array([1.0]))
    assert got[0] == pytest.approx(1 - np.exp(-1), abs=1e-6)


def test_state_survives_as_text() -> None:
    adjuster = Adjuster(REFERENCE, neutral_frame=1, smooth_s=0.1)
    adjuster.adjust(1, 1, 0.0, np.array([0.0, 1.0]))
    other = Adjuster(REFERENCE, neutral_frame=1, smooth_s=0.1)
    other.restore(json.loads(json.dumps(adjuster.state())))
    logits = np.array([1.0, -1.0])
    np.testing.assert_allclose(
        adjuster.adjust(1, 2, 0.04, logits)[0], other.adjust(1, 2, 0.04, logits)[0]
    )


class Card:
    thresholds = np.array([0.5, 0.3])


DOUBTS = {
    "sure": ([0.9, 0.1], 0.1, [1, 0]),
    "just on the threshold": ([0.5, 0.3], 0.0, [1, 1]),
    "close above": ([0.55, 0.35], 0.1, [UNSURE, UNSURE]),
    "close below": ([0.45, 0.25], 0.1, [UNSURE, UNSURE]),
    "not a number": ([float("nan"), 0.9], 0.0, [UNSURE, 1]),
}


@pytest.mark.parametrize(("given", "abstain", "want"), DOUBTS.values(), ids=DOUBTS.keys())
def test_nothing_is_said_close_to_a_threshold(given, abstain, want) -> None:
    assert Predictor.decide(Card(), np.array([given]), abstain).tolist() == [want]


class Reading:
    def __init__(self, person=1):
        self.person, self.probabilities = person, np.array([0.25, 0.75])
        self.occurs = np.array([0, 1])


def test_a_timeline_of_hours_stays_small_and_keeps_its_means() -> None:
    timeline = Timeline((1, 12), np.array([0.5, 0.5]))
    for frame in range(1, 20_001):
        timeline.add(frame, frame / 25, [Reading()])
    assert len(timeline.people[1]) <= MAX_COLUMNS
    sums = np.sum(list(timeline.people[1].values()), axis=0)
    np.testing.assert_allclose(sums[0] / sums[3], [0.25, 0.75])
    assert sums[3, 0] == 20_000
    assert len(page("x", timeline, [])) < 400_000


def test_the_page_is_one_file_that_cannot_run_or_load_anything() -> None:
    timeline = Timeline((1, 12), np.array([0.5, 0.5]))
    timeline.add(1, 0.0, [Reading(p) for p in range(1, 30)])
    text = page("<script>alert(1)</script>", timeline, [("use", "<img src=x>")])
    assert "<script" not in text
    assert "<img" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert text.count("<svg") == 12
    assert "17 more" in text
