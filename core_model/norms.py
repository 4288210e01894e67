"""How far an update went from the model that it started from."""

from __future__ import annotations

import math

import numpy as np

from core_model.schema import Arrays

_BLOCK = 1 << 16  # values at a time: the working copy stays in the processor's cache


def change_norm(old: Arrays, new: Arrays) -> float:
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
