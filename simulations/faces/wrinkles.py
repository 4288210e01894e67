"""Wrinkles that each Action Unit folds into the skin, drawn where the muscle makes them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from simulations.faces.canvas import SIZE, Line, arc, mirrored, strokes

_LINES: dict[int, tuple[list[Line], float]] = {
    # AU: (lines, width in decimetres); FACS manual, "appearance changes"
    1: ([arc(-0.24, 0.24, 7.72 + 0.1 * k, 0.03) for k in range(3)], 0.022),
    2: (mirrored([arc(0.18, 0.55, 7.75 + 0.1 * k, 0.05) for k in range(3)]), 0.022),
    4: (
        [*mirrored([[(0.05, 7.46), (0.065, 7.57), (0.055, 7.68)]]), arc(-0.07, 0.07, 7.38, 0.0)],
        0.026,
    ),
    6: (
        mirrored(
            [
                *([(0.52, 7.27 + 0.03 * k), (0.66, 7.22 + 0.09 * k)] for k in (-1, 0, 1)),
                [(0.2, 7.12), (0.33, 7.07), (0.46, 7.1)],
            ]
        ),
        0.02,
    ),
    7: (mirrored([[(0.2, 7.14), (0.33, 7.11), (0.46, 7.14)]]), 0.02),
    9: (
        [
            *(arc(-0.09, 0.09, 7.25 - 0.06 * k, 0.02) for k in range(3)),
            *mirrored([[(0.04, 7.3), (0.1, 7.18)]]),
        ],
        0.02,
    ),
    10: (mirrored([[(0.15, 6.95), (0.24, 6.86), (0.3, 6.72)]]), 0.024),
    12: (mirrored([[(0.17, 6.93), (0.29, 6.8), (0.36, 6.62), (0.36, 6.5)]]), 0.026),
    14: (mirrored([[(0.345, 6.66), (0.36, 6.6), (0.345, 6.53)]]), 0.045),
    15: (mirrored([[(0.28, 6.5), (0.32, 6.4), (0.32, 6.32)]]), 0.028),
    17: ([arc(-0.14, 0.14, 6.3, 0.03), arc(-0.1, 0.1, 6.24, -0.02)], 0.026),
    20: (mirrored([[(0.38, 6.62), (0.4, 6.5)], [(0.44, 6.6), (0.45, 6.45)]]), 0.022),
    23: ([[(x, 6.73), (x, 6.66)] for x in (-0.16, -0.08, 0.0, 0.08, 0.16)], 0.016),
    24: ([*mirrored([[(0.28, 6.58), (0.34, 6.54)]]), arc(-0.2, 0.2, 6.42, -0.02)], 0.024),
}


@cache
def wrinkle_maps() -> NDArray[np.float32]:
    """Return how much each AU of ``UNION`` darkens each spot. Shape: (17, SIZE, SIZE)."""
    flat = np.zeros((SIZE, SIZE), np.float32)
    return np.stack([strokes(*_LINES[au], blur=1.3) if au in _LINES else flat for au in UNION])
