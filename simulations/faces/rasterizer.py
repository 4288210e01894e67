"""Which triangle is seen in each pixel: a z-buffer in numba. No fast-math: seeds hold."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def rasterize(
    points: NDArray[np.float32],
    depth: NDArray[np.float32],
    triangles: NDArray[np.int32],
    size: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Draw triangles; the nearest wins, backs are left out.

    Args:
        points: Pixel coordinates of the vertices, y downwards. Shape: (V, 2).
        depth: Distance of each vertex from the camera. Shape: (V,).
        triangles: Corners, anticlockwise when seen from the front. Shape: (F, 3).
        size: Side of the picture in pixels.

    Returns:
        Index of the triangle in each pixel, -1 for none (size, size), and the pixel's barycentric
        coordinates in it (size, size, 3).
    """
    seen = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    nearest = np.full((size, size), np.inf, np.float32)
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f]
        x0, y0 = points[a]
        x1, y1 = points[b]
        x2, y2 = points[c]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -1e-9:
            continue
        left, right = max(int(np.ceil(min(x0, x1, x2))), 0), min(int(max(x0, x1, x2)), size - 1)
        top, bottom = max(int(np.ceil(min(y0, y1, y2))), 0), min(int(max(y0, y1, y2)), size - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                w1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                w2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                w0 = 1 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * depth[a] + w1 * depth[b] + w2 * depth[c]
                if z < nearest[y, x]:
                    nearest[y, x] = z
                    seen[y, x] = f
                    weights[y, x, 0] = w0
                    weights[y, x, 1] = w1
                    weights[y, x, 2] = w2
    return seen, weights
