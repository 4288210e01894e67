"""Hide the faces of a picture: pixelated or cut out. What lies outside of the cut-outs stays.

Neither takes the identity out (docs/use.md has the table); re-enactment, which draws another face,
needs generated people and lives in ``simulations.mask``.

Shapes: H, W = height and width of an image, S = side of a cut-out in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from core_model.data.face import RECIPES, TEMPLATE, Face, Image, crop
from core_model.use.reader import Reading

SIDE = 192  # pixels of a cut-out
CELLS = 10  # squares a side that pixelation leaves
GREY = 128
Hider = Callable[[Image, Reading], Image]  # of one cut-out. (S, S, 3), kept


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


HIDERS: Mapping[str, Hider] = {
    "pixelate": lambda cutout, _: pixelate(cutout),
    "cutout": lambda cutout, _: cut_out(cutout),
}


def hide_faces(image: Image, readings: Sequence[Reading], hide: Hider, side: int = SIDE) -> Image:
    """Return the picture with every face hidden. Shape: kept.

    Without any, or if one cannot be covered, it is black: nothing is shown rather than everything.
    """
    out = image.copy()
    for reading in readings:
        face = reading.face
        if face is None:
            continue
        cutout = crop(image, face, RECIPES["aligned5"].resized(side))
        if not _paste(out, hide(cutout, reading), face):
            return np.zeros_like(image)
    return out if readings else np.zeros_like(image)


def _paste(image: Image, cutout: Image, face: Face) -> bool:
    """Put a cut-out back where it came from, in place; tell whether that could be done."""
    side = cutout.shape[0]
    matrix, _ = cv2.estimateAffinePartial2D(TEMPLATE * side, face.points, method=cv2.LMEDS)
    if matrix is None:  # the five points fall together
        return False
    size = (image.shape[1], image.shape[0])
    cover = cv2.warpAffine(np.full((side, side), 255, np.uint8), matrix, size)
    placed = cv2.warpAffine(cutout, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    image[cover > 0] = placed[cover > 0]
    return True
