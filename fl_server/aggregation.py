"""The weighted mean of site updates, streaming, with a weight for each row of the AU head.

An update is added and can be forgotten: memory does not grow with the number of sites. Sums are
kept in fixed point (64-bit integers), so the result is the same to the bit in whatever order the
updates arrive; 2**-36 is finer than float32 for all weights above 0.0002.

A product becomes an integer without a conversion: ``_SHIFT`` is so large a float64 that its last
bit counts as one, so adding it leaves the rounded product in the lowest bits. The bits of
``_SHIFT`` itself are taken off the sums once, in the end. Integers wrap around, so nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core_model.schema import Arrays, ParameterSchema, Role

SCALE = float(2**36)
LIMIT = float(2**15)  # of weight times value in one update: 2**51 / SCALE
MAX_UPDATES = 2**11  # so that sums stay below 2**62 / SCALE
_SHIFT = 1.5 * 2**52
_SHIFT_BITS = int(np.float64(_SHIFT).view(np.int64))
_BLOCK = 1 << 16  # values at a time: the working copies stay in the processor's cache


class Aggregator:
    """Adds up the updates of one round.

    Args:
        schema: The weights of this round. Arrays of role AU_HEAD have a row for each AU.
        action_units: The AUs of those rows.
    """

    def __init__(self, schema: ParameterSchema, action_units: tuple[int, ...]) -> None:
        self._action_units = action_units
        self._rowwise = {p.name for p in schema.parameters if p.role is Role.AU_HEAD}
        self._sums = {p.name: np.zeros(p.shape, np.int64) for p in schema.parameters}
        self._weights: list[float] = []
        self._row_weights: dict[int, list[float]] = {au: [] for au in action_units}

    def fold(self, arrays: Arrays, weight: float, row_weights: Mapping[int, float]) -> None:
        """Add one update.

        Args:
            arrays: Exactly the weights of the schema.
            weight: Of this site for all that is not a row of the AU head.
            row_weights: Of this site for the rows of the AUs that it labels; others do not count.

        Raises:
            ValueError: A weight is not positive, or the values are too large to be added up. The
                sums are as before.
        """
        weights = (weight, *row_weights.values())
        if not all(0 < w < math.inf for w in weights):
            raise ValueError(f"expected positive weights, got {weights}")
        if (largest := _largest(arrays)) * max(weights) > LIMIT:
            raise ValueError(f"weights up to {largest:.3g} are too large to be averaged")
        if len(self._weights) == MAX_UPDATES:
            raise ValueError(f"expected at most {MAX_UPDATES} updates")
        for name, total in self._sums.items():
            if name in self._rowwise:
                for row, au in enumerate(self._action_units):
                    if au in row_weights:
                        _add(total[row : row + 1], arrays[name][row : row + 1], row_weights[au])
            else:
                _add(total, arrays[name], weight)
        self._weights.append(weight)
        for au, row_weight in row_weights.items():
            self._row_weights[au].append(row_weight)

    def mean(self, old: Arrays) -> Arrays:
        """Return the weighted mean; rows that no site labels keep their ``old`` value."""
        result: Arrays = {}
        for name, total in self._sums.items():
            if name in self._rowwise:
                rows = [
                    _divide(total[k : k + 1], self._row_weights[au], old[name][k : k + 1])
                    for k, au in enumerate(self._action_units)
                ]
                result[name] = np.concatenate(rows)
            else:
                result[name] = _divide(total, self._weights, old[name])
        return result


def _largest(arrays: Arrays) -> float:
    return max(
        (float(max(a.max(initial=0), -a.min(initial=0))) for a in arrays.values()), default=0.0
    )


def _add(total: NDArray[np.int64], values: NDArray[np.float32], weight: float) -> None:
    """Add ``weight * values``, and the bits of ``_SHIFT``, to ``total`` in place."""
    flat_total, flat = total.reshape(-1), np.ascontiguousarray(values).reshape(-1)
    factor, space = weight * SCALE, np.empty(min(_BLOCK, flat.size))
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        products = np.multiply(part, factor, out=space[: part.size], dtype=np.float64)
        products += _SHIFT
        flat_total[start : start + _BLOCK] += products.view(np.int64)


def _divide(
    total: NDArray[np.int64], weights: list[float], old: NDArray[np.float32]
) -> NDArray[np.float32]:
    if not weights:
        return old.copy()
    divisor = math.fsum(weights) * SCALE  # exact, so free of order
    shifts = np.array(len(weights) * _SHIFT_BITS % 2**64, np.uint64).view(np.int64)
    flat_total = total.reshape(-1)
    result = np.empty(flat_total.shape, np.float32)
    for start in range(0, flat_total.size, _BLOCK):
        result[start : start + _BLOCK] = (flat_total[start : start + _BLOCK] - shifts) / divisor
    return result.reshape(total.shape)
