"""A mask moves as the face behind it, and shows nothing of it."""

from pathlib import Path

import numpy as np
import pytest

from core_model.action_units import UNION
from core_model.data.face import TEMPLATE
from core_model.use.hide import cut_out, pixelate
from simulations.faces.facs import STEPS, intensity
from simulations.mask.reenact import MAX_LIGHT, Mask, Pose, activations_of, light_of, pose_of

AUS = (1, 12, 26)
THRESHOLDS = np.array([0.5, 0.3, 0.7])


@pytest.fixture(scope="module")
def mask():
    return Mask(Path.home() / ".cache" / "omote", size=96)


def test_what_occurs_is_drawn_as_occurring_and_the_rest_is_not() -> None:
    for p in np.linspace(0, 1, 41):
        found = activations_of(np.full(3, p), THRESHOLDS, AUS)
        for au, threshold in zip(AUS, THRESHOLDS, strict=True):
            value = found[UNION.index(au)]
            assert (intensity(value) >= 2) == (p >= threshold)
            assert 0 <= value <= 1
        assert not found[[k for k, au in enumerate(UNION) if au not in AUS]].any()


def test_activations_rise_with_probabilities() -> None:
    rows = [activations_of(np.full(3, p), THRESHOLDS, AUS) for p in np.linspace(0, 1, 101)]
    assert (np.diff(np.array(rows), axis=0) >= -1e-6).all()
    assert rows[0].max() == 0
    assert rows[-1].max() > STEPS[-1]


def turned(yaw=0.0, pitch=0.0, roll=0.0, size=100.0, at=(300.0, 200.0)):
    """Five points of a head that is turned, from far away."""
    eyes_mouth = [(-0.5, 0, 0), (0.5, 0, 0), (0, 0.57, 0.55), (-0.41, 1.15, 0.1), (0.41, 1.15, 0.1)]
    points = np.array(eyes_mouth)
    (cy, sy), (cp, sp) = (np.cos(yaw), np.sin(yaw)), (np.cos(pitch), np.sin(pitch))
    points = points @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]).T  # y points down here
    points = points @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]).T
    c, s = np.cos(roll), np.sin(roll)
    return size * points[:, :2] @ np.array([[c, -s], [s, c]]).T + at


@pytest.mark.parametrize("roll", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("yaw", [-0.35, -0.1, 0.0, 0.1, 0.35])
def test_the_pose_is_read_from_five_points_whatever_the_roll(yaw, roll) -> None:
    found = pose_of(turned(yaw=yaw, roll=roll))
    assert found.yaw == pytest.approx(yaw, abs=0.12)
    assert abs(found.pitch) < 0.12


def test_looking_down_and_up_are_told_apart() -> None:
    down, straight, up = (pose_of(turned(pitch=p)).pitch for p in (0.3, 0.0, -0.3))
    assert down > straight + 0.15 > up + 0.3


def test_points_that_fall_together_give_no_pose_and_no_crash() -> None:
    assert np.isfinite([*vars(pose_of(np.zeros((5, 2)))).values()]).all()
    straight = pose_of(TEMPLATE * 100)
    assert abs(straight.yaw) < 0.01
    assert abs(straight.pitch) < 0.01


def test_light_is_told_in_coarse_steps() -> None:
    ramp = np.tile(np.linspace(60, 200, 96), (96, 1))
    picture = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    right, left, none = light_of(picture), light_of(picture[:, ::-1]), light_of(picture * 0 + 90)
    assert right == -left > 0 == none
    assert right <= MAX_LIGHT
    assert right % 15 == 0


def test_equal_numbers_give_equal_pictures_whoever_is_behind(mask) -> None:
    smile = np.zeros(len(UNION), np.float32)
    smile[UNION.index(12)] = 0.8
    one = mask.draw(smile, Pose(0.1, 0.0), 15)
    np.testing.assert_array_equal(one, mask.draw(smile, Pose(0.1, 0.0), 15))
    still = mask.draw(np.zeros(len(UNION), np.float32), Pose(0.1, 0.0), 15)
    mouth = np.abs(one[60:85, 25:71].astype(int) - still[60:85, 25:71]).mean()
    assert mouth > 3 * np.abs(one[:20].astype(int) - still[:20]).mean()


def test_the_mask_turns_with_the_head(mask) -> None:
    rest = np.zeros(len(UNION), np.float32)
    left, right = (mask.draw(rest, Pose(y, 0.0), 0).astype(int) for y in (-0.4, 0.4))
    assert np.abs(left - right).mean() > 5


def test_baselines_leave_little_of_the_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    assert len(np.unique(pixelate(noise).reshape(-1, 3), axis=0)) <= 100
    hidden = cut_out(noise)
    assert (hidden[30:75, 30:66] == 128).all()
    np.testing.assert_array_equal(hidden[:4], noise[:4])
