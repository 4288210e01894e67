"""Numbers as 32-bit integers that wrap around, so that masks can be added and taken off exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
MOST = 2**31 - 1  # two's complement: sums must stay within plus and minus this


@dataclass(frozen=True)
class FixedPoint:
    """How values of at most ``largest`` are coded when up to ``num_terms`` of them are added.

    The scale is a power of two, as large as the sum allows. Rounding one value costs at most half
    of ``1 / scale``.
    """

    num_terms: int
    largest: float

    def __post_init__(self) -> None:
        if not (self.num_terms >= 1 and 0 < self.largest < math.inf and self.scale >= 1):
            raise ValueError(f"{self.num_terms} values up to {self.largest:g} do not fit 32 bits")

    @property
    def limit(self) -> int:
        """The largest integer that one value may become."""
        return MOST // self.num_terms

    @property
    def scale(self) -> float:
        """What a value is multiplied by."""
        return 2.0 ** math.floor(math.log2(self.limit / self.largest))

    def encode(self, values: NDArray[np.float64]) -> Words:
        """Return the code of some values.

        Raises:
            ValueError: One is not finite, or too large: it would silently change the sum.
        """
        with np.errstate(over="ignore"):
            scaled = np.rint(values * self.scale)
        if not (scaled.size == 0 or np.abs(scaled).max() <= self.limit):
            most = self.limit / self.scale
            raise ValueError(f"expected finite values of at most {most:g}")
        return scaled.astype(np.int64).astype(np.uint32)

    def decode(self, total: Words) -> NDArray[np.float64]:
        """Return the values of a sum of codes."""
        return total.view(np.int32).astype(np.float64) / self.scale
