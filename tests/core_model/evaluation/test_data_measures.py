"""Figures of a data report against cases whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from core_model.data.face import TEMPLATE
from core_model.data.look import ita_class, looks, perceptual_hash, pose
from core_model.evaluation import data_measures as m
from core_model.evaluation.data_advice import advice
from core_model.evaluation.data_result import AuFigures, DataReport


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60).filter(
        lambda p: len({b for _, b in p}) == 2
    )
)
def test_auc_is_that_of_scikit_learn_ties_and_all(pairs) -> None:
    scores, truth = np.array([s for s, _ in pairs], float), np.array([b for _, b in pairs])
    assert m.auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def people_with(rates: list[float], frames: int = 200):
    chance = np.random.default_rng(0)
    values = np.concatenate([(chance.random(frames) < r).astype(float) for r in rates])
    return values, np.repeat(np.arange(len(rates)), frames)


def test_identity_tells_nothing_where_everyone_shows_an_au_equally() -> None:
    assert m.shortcut_auc(*people_with([0.3] * 8)) == pytest.approx(0.5, abs=0.06)


def test_identity_tells_nearly_all_where_an_au_is_a_matter_of_who_it_is() -> None:
    told = m.shortcut_auc(*people_with([0.02, 0.02, 0.98, 0.98]))
    assert told is not None
    assert told > 0.95


def test_the_shortcut_is_not_told_where_it_cannot_be() -> None:
    assert m.shortcut_auc(*people_with([0.5])) is None
    assert m.shortcut_auc(np.zeros(6), np.arange(6) % 2) is None


def test_unknown_labels_count_in_no_rate() -> None:
    occurs = np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]])
    known = np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]])
    one, two = m.au_figures((1, 2), occurs, known, np.array([0, 0, 1, 1]))
    assert (one.known, one.unknown, one.base_rate, one.people_known) == (2, 2, 0.5, 1)
    assert (two.known, two.base_rate, two.people_showing) == (2, 0.5, 1)
    table = m.co_occurrence(occurs, known)
    assert table == ((0.5, None), (0.0, 0.5))


def test_shares_that_are_uneven_count_as_fewer_people() -> None:
    assert m.effective(np.array([10, 10, 10, 10])) == pytest.approx(4)
    assert m.effective(np.array([97, 1, 1, 1])) == pytest.approx(1.06, abs=0.01)


def test_small_groups_of_skin_lightness_are_hidden() -> None:
    ita = np.array([60.0] * 4 + [45.0] * 2 + [-50.0])
    told = m.lightness(ita, np.arange(7))
    assert told == {
        "very light": "4", "light": "fewer than 3", "intermediate": "0", "tan": "0", "brown": "0",
        "dark": "fewer than 3",
    }  # fmt: skip


def test_a_person_counts_once_however_many_frames_there_are() -> None:
    assert m.lightness(np.full(30, 60.0), np.repeat([0, 1, 2], 10))["very light"] == "3"


def test_copies_are_found_within_a_recording_and_between_people() -> None:
    a, b, c = 0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x00FF00FF00FF00FF
    hashes = np.array([a, a ^ 1, b, a, c], np.uint64)
    repeated, shared = m.copies(hashes, np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1]))
    assert repeated == pytest.approx(1 / 5)
    assert shared == 3


def face(skin: tuple[int, int, int], light: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    image = np.full((96, 96, 3), skin, np.float64)
    image *= np.linspace(light[0], light[1], 96)[None, :, None]
    for x, y in TEMPLATE[:3] * 96:
        cv2.circle(image, (int(x), int(y)), 5, (30, 20, 20), -1)
    return image.clip(0, 255).astype(np.uint8)


def test_darker_skin_has_a_smaller_angle() -> None:
    angles = [looks(face(s))[3] for s in ((240, 214, 196), (205, 160, 130), (90, 60, 45))]
    assert angles == sorted(angles, reverse=True)
    assert [ita_class(a) for a in (60, 50, 30, 20, 0, -60)] == [
        "very light", "light", "intermediate", "tan", "brown", "dark",
    ]  # fmt: skip


def test_light_from_one_side_is_uneven_and_blur_is_less_sharp() -> None:
    even, side = face((200, 160, 140)), face((200, 160, 140), (0.4, 1.2))
    assert looks(even)[1] < 0.05 < 0.3 < looks(side)[1]
    assert looks(cv2.GaussianBlur(even, (0, 0), 4))[2] < 0.5 * looks(even)[2]


def test_a_hash_survives_scaling_and_light_and_tells_faces_apart() -> None:
    chance = np.random.default_rng(5)
    coarse = chance.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    one, other = (cv2.resize(c, (96, 96), interpolation=cv2.INTER_CUBIC) for c in coarse)
    again = cv2.resize(one, (64, 64), interpolation=cv2.INTER_AREA)
    dimmed = (one * 0.8).astype(np.uint8)
    apart = [bin(perceptual_hash(one) ^ perceptual_hash(x)).count("1") for x in (again, dimmed)]
    assert max(apart) <= m.NEARLY_EQUAL
    assert bin(perceptual_hash(one) ^ perceptual_hash(other)).count("1") > 12


def test_pose_is_told_from_five_points() -> None:
    points = TEMPLATE * 100
    yaw, pitch, roll = pose(points)
    assert (abs(yaw), abs(pitch), abs(roll)) < (3, 8, 1)
    turned = points + np.array([[0, 0], [0, 0], [12, 0], [4, 0], [4, 0]])
    assert m.turns(np.array([pose(turned)[0]]))["right"] == 1
    down = points + np.array([[0, 0], [0, 0], [0, 9], [0, 0], [0, 0]])
    assert m.nods(np.array([pose(down)[1]]))["down"] == 1
    angle = np.radians(20)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert pose(points @ matrix)[2] == pytest.approx(20, abs=1)
    assert pose(points @ matrix)[0] == pytest.approx(yaw, abs=0.1)


def report(**changes) -> DataReport:
    au = AuFigures(
        au=12, known=100, unknown=0, base_rate=0.4, people_showing=30, people_known=30,
        least_rate=0.3, most_rate=0.5, shortcut_auc=0.52,
    )  # fmt: skip
    values = {
        "people": 30, "recordings": 30, "frames": 900, "labelled_frames": 900,
        "people_left_out": 0, "licences": {}, "action_units": (au,), "co_occurrence": ((1.0,),),
        "frames_per_person": None, "largest_share": 0.05, "effective_people": 29.0,
        "shortcut_auc": 0.52, "yaw": {"frontal": 0.7}, "pitch": {}, "measured_pose": 900,
        "brightness": None, "unevenness": None, "sharpness": None, "eye_distance": None,
        "lightness": {}, "examined": 0, "repeated_share": 0.1, "shared_between_people": 0,
        "advice": (),
    }  # fmt: skip
    return DataReport.model_validate({**values, **changes})


def with_au(**changes) -> DataReport:
    plain = report()
    return report(action_units=(plain.action_units[0].model_copy(update=changes),))


ADVICE = {
    "all is well": (report(), ""),
    "few people": (report(people=5, effective_people=5.0), "More people before more frames"),
    "one person dominates": (report(effective_people=4.0), "Even out"),
    "a rare AU": (with_au(base_rate=0.01), "Tasks that bring out AU12"),
    "an AU of few people": (with_au(people_showing=9), "More people who show AU12"),
    "a shortcut": (with_au(shortcut_auc=0.8), "predicts AU12 with AUC 0.80"),
    "much unknown": (with_au(unknown=60), "Have AU12 (lip corner puller) coded"),
    "all frontal": (report(yaw={"frontal": 0.97}), "Faces that look aside"),
    "nobody dark": (report(lightness={"light": "9", "dark": "0"}), "skin that is dark"),
    "copies of others": (report(shared_between_people=4), "names mixed up"),
    "every frame kept": (report(repeated_share=0.9), "--step"),
}


@pytest.mark.parametrize(("given_", "want"), ADVICE.values(), ids=ADVICE.keys())
def test_advice_names_the_gap_and_nothing_else(given_, want) -> None:
    found = advice(given_)
    if want:
        assert len(found) == 1
        assert want in found[0]
    else:
        assert found == ()
