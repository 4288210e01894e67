"""How far an update went from the model that it started from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16  # values at a time: the working copy stays in the processor's cache


def change_norm(
    old: Mapping[str, NDArray[np.float32]], new: Mapping[str, NDArray[np.float32]]
) -> float:
    """Return the L2 norm of ``new - old`` over all weights of ``new``.

    Sums are in double precision between blocks; within one, single precision is finer than any
    bound that is set by hand. Infinite if the change is too large to be squared.
    """
    squares = []
    space = np.empty(_BLOCK, np.float32)
    with np.errstate(over="ignore"):
        for name, array in new.items():
            flat, before = array.reshape(-1), old[name].reshape(-1)
            for start in range(0, flat.size, _BLOCK):
                part = flat[start : start + _BLOCK]
                change = space[: part.size]
                np.subtract(part, before[start : start + _BLOCK], out=change)
                squares.append(float(np.dot(change, change)))
    return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.inf
