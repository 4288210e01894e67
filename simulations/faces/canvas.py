"""Drawing on the face in canonical coordinates: a frontal map, ``SIZE`` pixels square."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Line = Sequence[tuple[float, float]]

SIZE = 256
LEFT, RIGHT, BOTTOM, TOP = -1.0, 1.0, 5.9, 8.7  # decimetres; see head.py


def to_pixels(points: Floats) -> tuple[Floats, Floats]:
    """Return column and row of canonical points. Shape: (..., 2 or 3) -> (...), (...)."""
    columns = (points[..., 0] - LEFT) / (RIGHT - LEFT) * (SIZE - 1)
    rows = (TOP - points[..., 1]) / (TOP - BOTTOM) * (SIZE - 1)
    return columns.astype(np.float32), rows.astype(np.float32)


def grid() -> tuple[Floats, Floats]:
    """Return the canonical x and y of every pixel. Shape: (SIZE, SIZE) each."""
    x, y = np.meshgrid(np.linspace(LEFT, RIGHT, SIZE), np.linspace(TOP, BOTTOM, SIZE))
    return x.astype(np.float32), y.astype(np.float32)


def strokes(lines: Iterable[Line], width: float, blur: float = 0.0) -> Floats:
    """Draw soft lines. ``width`` is in decimetres, ``blur`` in pixels. Shape: (SIZE, SIZE)."""
    fine = 4
    picture = np.zeros((SIZE * fine, SIZE * fine), np.uint8)
    for line in lines:
        columns, rows = to_pixels(np.array(line, np.float32))
        points = np.stack([columns, rows], 1) * fine
        thickness = max(1, round(width / (RIGHT - LEFT) * SIZE * fine))
        cv2.polylines(
            picture, [(points * 16).astype(np.int32)], False, (255,), thickness, cv2.LINE_AA, 4
        )
    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    drawn = small.astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), np.float32) if blur else drawn


def noise(chance: np.random.Generator, cells: int) -> Floats:
    """Return smooth noise of ``cells`` bumps a side, mean 0, deviation about 1."""
    coarse = chance.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.float32)


def mirrored(lines: Sequence[Line]) -> list[Line]:
    """Return the lines and their mirror images."""
    return [*lines, *([(-x, y) for x, y in line] for line in lines)]


def arc(left: float, right: float, y: float, rise: float) -> Line:
    """Return a parabola from ``left`` to ``right`` that rises by ``rise`` in the middle."""
    middle, half = (left + right) / 2, (right - left) / 2
    xs = np.linspace(left, right, 12)
    return [(float(x), float(y + rise * (1 - ((x - middle) / half) ** 2))) for x in xs]
