"""Three ways to hide who it is: blur, a cut-out of the face, and a mask that moves along.

Shapes: H, W = height and width of an image, S = side of a cut-out in pixels.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from core_model.data.face import RECIPES, TEMPLATE, Face, Image, crop
from core_model.predictor import Predictor
from core_model.use.reader import Reading
from simulations.mask.reenact import Mask, Pose, activations_of, light_of, pose_of

Way = Literal["pixelate", "cutout", "reenact"]
WAYS: tuple[Way, ...] = ("pixelate", "cutout", "reenact")
CELLS = 10  # squares a side that pixelation leaves
GREY = 128


def pixelate(cutout: Image) -> Image:
    """Leave ``CELLS`` squares a side. Shape: kept."""
    small = cv2.resize(cutout, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    size = (cutout.shape[1], cutout.shape[0])
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def cut_out(cutout: Image) -> Image:
    """Paint over brows to chin, ear to ear: hair and surroundings stay. Shape: kept."""
    out = cutout.copy()
    side = out.shape[0]
    centre, axes = (side // 2, round(0.55 * side)), (round(0.4 * side), round(0.44 * side))
    cv2.ellipse(out, centre, axes, 0, 0, 360, (GREY, GREY, GREY), -1)
    return out


def hide(
    way: Way, cutout: Image, reading: Reading, predictor: Predictor, mask: Mask, pose: Pose
) -> Image:
    """Return a cut-out with the identity taken out in one way. Shape: (S, S, 3), kept."""
    if way == "pixelate":
        return pixelate(cutout)
    if way == "cutout":
        return cut_out(cutout)
    aus = predictor.card.action_units
    moved = activations_of(reading.probabilities, predictor.thresholds, aus)
    drawn = mask.draw(moved, pose, light_of(cutout))
    if drawn.shape != cutout.shape:
        size = (cutout.shape[1], cutout.shape[0])
        drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)
    return drawn


def hide_in(
    way: Way, image: Image, readings: list[Reading], predictor: Predictor, mask: Mask
) -> Image:
    """Hide every face of an image. What lies outside of the cut-outs stays. Shape: kept."""
    out = image.copy()
    for reading in readings:
        if reading.face is not None:
            cutout = crop(image, reading.face, RECIPES["aligned5"].resized(mask.size))
            pose = pose_of(reading.face.points)
            _paste(out, hide(way, cutout, reading, predictor, mask, pose), reading.face)
    return out


def _paste(image: Image, cutout: Image, face: Face) -> None:
    """Put a cut-out back where it came from, in place."""
    side = cutout.shape[0]
    matrix, _ = cv2.estimateAffinePartial2D(TEMPLATE * side, face.points, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("the five points of a face fall together: nothing to paste to")
    size = (image.shape[1], image.shape[0])
    cover = cv2.warpAffine(np.full((side, side), 255, np.uint8), matrix, size)
    placed = cv2.warpAffine(cutout, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    image[cover > 0] = placed[cover > 0]
