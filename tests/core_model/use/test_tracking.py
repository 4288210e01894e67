"""Faces keep their number while they move, and get a new one when somebody else comes."""

import json

import numpy as np
import pytest

from core_model.data.face import Face, FaceDetector
from core_model.use.tracking import FaceTracker, Track, find, match, overlap
from tests.core_model.released import scene


def face(x, y=0.0, size=100.0, score=0.9):
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 75], [65, 75]], np.float32)
    points += np.array([x, y], np.float32)
    return Face(np.array([x, y, size, size], np.float32), points, score)


def people(tracks):
    return {t.person: round(float(t.face.box[0])) for t in tracks if t.missed == 0}


def test_faces_keep_their_numbers_whatever_the_order_they_are_found_in() -> None:
    tracks, seen = match((), [face(0), face(300)], 0)
    assert people(tracks) == {1: 0, 2: 300}
    tracks, seen = match(tracks, [face(310), face(8)], seen)
    assert people(tracks) == {1: 8, 2: 310}
    assert seen == 2


def test_a_face_that_is_away_for_a_moment_keeps_its_number_and_then_loses_it() -> None:
    tracks, seen = match((), [face(0)], 0)
    tracks, seen = match(tracks, [], seen)
    assert people(tracks) == {}
    assert len(tracks) == 1
    tracks, seen = match(tracks, [face(4)], seen)
    assert people(tracks) == {1: 4}
    for _ in range(3):
        tracks, seen = match(tracks, [], seen)
    assert tracks == ()
    tracks, seen = match(tracks, [face(4)], seen)
    assert people(tracks) == {2: 4}


def test_somebody_elsewhere_is_somebody_else() -> None:
    tracks, seen = match((), [face(0)], 0)
    tracks, seen = match(tracks, [face(400)], seen)
    assert people(tracks) == {2: 400}


OVERLAPS = {
    "the same": (face(0), face(0), 1.0),
    "half beside": (face(0), face(50), 1 / 3),
    "apart": (face(0), face(100), 0.0),
    "without size": (face(0, size=0.0), face(0, size=0.0), 0.0),
}


@pytest.mark.parametrize(("a", "b", "want"), OVERLAPS.values(), ids=OVERLAPS.keys())
def test_overlap(a, b, want) -> None:
    assert overlap(a.box, b.box) == pytest.approx(want, abs=1e-6)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def test_following_is_exact_to_a_fraction_of_a_pixel(detector) -> None:
    tracker = FaceTracker(detector, every=50)
    first = {t.person: t.face.points for t in tracker.step(scene(0))}
    column = {p: int(points[0, 0] > 300) for p, points in first.items()}
    for t in range(1, 20):
        for track in tracker.step(scene(t)):
            moved = track.face.points - first[track.person]
            true = place(t, column[track.person]) - place(0, column[track.person])
            assert np.abs(moved - true).max() < 0.5


def place(t, k):
    """Where person ``k`` of ``scene`` is in frame ``t``."""
    return np.array([round(20 * np.sin(t / 8 + k)), round(12 * np.cos(t / 10 + k))])


def test_corrected_following_jumps_less_than_detecting(detector) -> None:
    still = scene(0)
    chance = np.random.default_rng(0)
    frames = [
        np.clip(still + chance.normal(0, 6, still.shape), 0, 255).astype(np.uint8)
        for _ in range(24)
    ]

    def jumps(every):
        tracker = FaceTracker(detector, every=every)
        seen = [[t.face.points for t in sorted(tracker.step(f), key=lambda t: t.person)]
                for f in frames]  # fmt: skip
        return np.abs(np.diff(np.array(seen), axis=0)).mean()

    alone = [
        [f.points for f in sorted(find(detector, f, 320), key=lambda f: f.box[0])] for f in frames
    ]
    assert jumps(5) < 0.4 * np.abs(np.diff(np.array(alone), axis=0)).mean()


def test_following_stays_close_to_detecting(detector) -> None:
    tracker, calls = FaceTracker(detector, every=6), []
    for t in range(18):
        image = scene(t)
        tracks = tracker.step(image)
        assert sorted(t.person for t in tracks) == [1, 2]
        found = find(detector, image, 320)
        for track in tracks:
            best = max(overlap(track.face.box, f.box) for f in found)
            nearest = max(found, key=lambda f: overlap(track.face.box, f.box))
            calls.append(np.abs(track.face.points - nearest.points).max())
            assert best > 0.8
    assert np.median(calls) < 12  # pixels, of a face 160 wide: so far the detector jumps


def test_between_detections_the_detector_is_left_alone() -> None:
    class Counting:
        calls = 0

        def detect(self, image):
            self.calls += 1
            return (face(100, 100),)

    detector = Counting()
    tracker = FaceTracker(detector, every=5, detect_side=320)
    still = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    for _ in range(20):
        assert [t.person for t in tracker.step(still)] == [1]
    assert detector.calls == 4


def test_a_cut_to_another_scene_is_looked_at_at_once(detector) -> None:
    tracker = FaceTracker(detector, every=50)
    tracker.step(scene(0))
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    assert tracker.step(noise) == ()


def test_a_video_whose_frames_change_size_does_not_stop_it(detector) -> None:
    tracker = FaceTracker(detector, every=50)
    tracker.step(scene(0))
    assert len(tracker.step(scene(1)[:400, :620])) == 2


def test_an_interrupted_tracker_goes_on_with_the_same_numbers(detector) -> None:
    tracker = FaceTracker(detector)
    before = {t.person: t.face.box[0] for t in [tracker.step(scene(t)) for t in range(4)][-1]}
    other = FaceTracker(detector)
    other.restore(json.loads(json.dumps(tracker.state())))
    other.prime(scene(3))
    for t in range(4, 12):
        now = [(k.person, k.face.box.tolist()) for k in tracker.step(scene(t))]
        assert now == [(k.person, k.face.box.tolist()) for k in other.step(scene(t))]
    assert set(before) == {k for k, _ in now}


def test_no_detection_no_track() -> None:
    assert match([Track(1, face(0), missed=2)], [], 1) == ((), 1)
