"""Detection on real faces that a package ships, and what the crop recipes promise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core_model.data import face as module
from core_model.data.face import (
    RECIPES,
    TEMPLATE,
    Face,
    FaceDetector,
    FaceModelError,
    crop,
    detection_sides,
)
from core_model.data.video import read_image
from simulations.real_faces import orl_folder


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portraits():
    return [read_image(orl_folder() / f"s{person}" / "1.pgm") for person in range(1, 11)]


def test_every_real_portrait_has_one_face(detector, portraits) -> None:
    assert [len(detector.detect(image)) for image in portraits] == [1] * 10


def test_a_face_that_fills_a_large_image_is_found(detector, portraits) -> None:
    small = detector.detect(portraits[0])[0]
    large = cv2.resize(portraits[0], None, fx=20, fy=20, interpolation=cv2.INTER_CUBIC)
    found = detector.detect(large)
    assert len(found) == 1
    assert found[0].box / 20 == pytest.approx(small.box, abs=8)
    assert found[0].points / 20 == pytest.approx(small.points, abs=4)


def test_faces_come_largest_first(detector, portraits) -> None:
    scene = np.full((300, 400, 3), 90, np.uint8)
    scene[20:132, 10:102] = portraits[0]
    scene[40:264, 150:334] = cv2.resize(portraits[1], (184, 224))
    large, small = detector.detect(scene)
    assert large.area > 2 * small.area
    assert large.box[0] > 150 > small.box[0]


def test_noise_and_tiny_images_hold_no_face(detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    assert detector.detect(noise) == ()
    assert detector.detect(noise[:8]) == ()


@pytest.mark.parametrize(
    ("long_side", "want"),
    {
        "a photograph": (4000, (640, 320, 1280)),
        "a film": (1280, (640, 320, 1280)),
        "VGA": (640, (640, 320)),
        "a small image is looked at larger too": (112, (112, 320)),
        "never twice": (320, (320,)),
    }.values(),
)
def test_sizes_at_which_an_image_is_looked_at(long_side, want) -> None:
    assert detection_sides(long_side) == want


def test_a_missing_package_names_the_remedy(monkeypatch) -> None:
    monkeypatch.setattr(module, "MODEL_PACKAGE", "no_such_package")
    with pytest.raises(FaceModelError, match=r"pip install 'omote\[detect\]'"):
        FaceDetector()


def test_another_file_in_the_package_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(module, "MODEL_SHA256", "0" * 64)
    with pytest.raises(FaceModelError, match="expected SHA-256 0000"):
        FaceDetector()


def test_a_file_that_is_no_detector_is_refused(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(FaceModelError, match="not a YuNet"):
        FaceDetector(path)
    with pytest.raises(FaceModelError, match="cannot be read"):
        FaceDetector(tmp_path / "absent.onnx")


# --- crops -----------------------------------------------------------------------------------


def gradient(height: int, width: int) -> np.ndarray:
    """An image whose red tells the column and green the row."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def face_at(box, points=None) -> Face:
    given = np.zeros((5, 2)) if points is None else points
    return Face(np.array(box, np.float32), np.array(given, np.float32), 1.0)


def test_box5_takes_the_box_and_a_twentieth_on_each_side() -> None:
    # A box of 100 x 60 at (50, 80): with its margin from 45 to 155 and from 77 to 143.
    cut = crop(gradient(250, 250), face_at((50, 80, 100, 60)), RECIPES["box5"].resized(110))
    assert cut.shape == (110, 110, 3)
    assert cut[5:-5, 0, 0].tolist() == [45] * 100
    assert cut[5:-5, -1, 0].tolist() == [154] * 100
    assert cut[0, 5:-5, 1] == pytest.approx(77, abs=1)
    assert cut[-1, 5:-5, 1] == pytest.approx(142, abs=1)


def test_a_crop_of_a_large_face_is_averaged_not_sampled() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 200
    cut = crop(stripes, face_at((0, 0, 720, 720)), RECIPES["box5"].resized(90))
    assert cut[:, 10:-10].std() < 8
    assert cut[:, 10:-10].mean() == pytest.approx(100, abs=6)


@pytest.mark.parametrize("angle", [-40.0, 0.0, 25.0])
@pytest.mark.parametrize("zoom", [0.4, 1.0, 3.0])
def test_aligned5_puts_five_points_where_the_template_has_them(angle, zoom) -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    cos, sin = zoom * np.cos(np.radians(angle)), zoom * np.sin(np.radians(angle))
    points = (TEMPLATE - 0.5) * 150 @ np.array([[cos, sin], [-sin, cos]]) + 300
    for x, y in points:
        centre = round(16 * (float(x) - 0.5)), round(16 * (float(y) - 0.5))
        cv2.circle(image, centre, max(32, round(96 * zoom)), (255,) * 3, -1, shift=4)
    cut = crop(image, face_at((0, 0, 1, 1), points), RECIPES["aligned5"].resized(100))
    bright = cut[..., 0].astype(float)
    for x, y in TEMPLATE * 100:
        rows, columns = slice(int(y) - 8, int(y) + 9), slice(int(x) - 8, int(x) + 9)
        weights = bright[rows, columns]
        yy, xx = np.mgrid[rows, columns]
        centre = (weights * xx).sum() / weights.sum(), (weights * yy).sum() / weights.sum()
        assert centre == pytest.approx((x - 0.5, y - 0.5), abs=0.6)


def test_a_face_at_the_edge_is_cut_with_the_edge_going_on() -> None:
    cut = crop(gradient(100, 100), face_at((-40, 10, 80, 80)), RECIPES["box5"].resized(88))
    assert (cut[:, :40, 0] == 0).all()


def test_recipes_of_another_size_or_version_have_another_label() -> None:
    labels = {r.resized(size).label for r in RECIPES.values() for size in (96, 224)}
    assert labels == {"box5.v1.96", "box5.v1.224", "aligned5.v1.96", "aligned5.v1.224"}
