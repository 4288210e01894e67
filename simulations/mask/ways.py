"""Three ways to hide who it is: blur, a cut-out of the face, and a mask that moves along.

Shapes: H, W = height and width of an image, S = side of a cut-out in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from core_model.data.face import Image
from core_model.predictor import Predictor
from core_model.use.hide import Hider, cut_out, hide_faces, pixelate
from core_model.use.reader import Reading
from simulations.mask.reenact import Mask, Pose, activations_of, light_of, pose_of

Way = Literal["pixelate", "cutout", "reenact"]
WAYS: tuple[Way, ...] = ("pixelate", "cutout", "reenact")


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
    way: Way, image: Image, readings: Sequence[Reading], predictor: Predictor, mask: Mask
) -> Image:
    """Hide every face of an image; without any it is black. Shape: kept."""
    return hide_faces(image, readings, hider(way, predictor, mask), mask.size)


def hider(way: Way, predictor: Predictor, mask: Mask) -> Hider:
    """Return what hides one face in one way."""

    def one(cutout: Image, reading: Reading) -> Image:
        pose = Pose() if reading.face is None else pose_of(reading.face.points)
        return hide(way, cutout, reading, predictor, mask, pose)

    return one
