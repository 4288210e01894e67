"""A site's change of the model as one vector of words, and the sum of such vectors as a model.

The vector holds, for all weights in the order of their names, the change from the model that came
in times the site's share; then the parts that the shares are made of: one number for all that is
not a row of the AU head, and one for each row. So the sum brings its own divisors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_model.norms import change_norm
from core_model.schema import Arrays, ParameterSchema, Role
from core_model.secure_sum.fixed_point import FixedPoint, Words
from core_model.secure_sum.terms import SecureTerms

ALL = 0  # the key of what is not a row of the AU head; no AU has this number
FINEST = 1.0 - 2.0**-22  # a change that was shortened is never rounded beyond its bound
Parts = Mapping[int, int]


class WrongSumError(ValueError):
    """A sum is not one that honest sites give."""


@dataclass(frozen=True)
class Block:
    """Values that share a divisor: a whole weight, or one row of it."""

    name: str
    row: int | None
    key: int  # ALL or an AU
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Where in the vector it ends."""
        return self.start + math.prod(self.shape)

    def of(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return its values, as a view."""
        array = arrays[self.name]
        return array if self.row is None else array[self.row]


class Layout:
    """What stands where in the vector of a round."""

    def __init__(self, schema: ParameterSchema, action_units: Sequence[int]) -> None:
        self.keys = (ALL, *action_units)
        self.blocks = tuple(_blocks(schema, action_units))
        self.num_values = self.blocks[-1].stop if self.blocks else 0
        self.num_words = self.num_values + len(self.keys)

    def encode(self, old: Arrays, new: Arrays, parts: Parts, terms: SecureTerms, num: int) -> Words:
        """Return the vector of one site.

        Args:
            old: The model that came in.
            new: The site's weights.
            parts: How much the site counts, for ALL and the AUs whose rows are to be added.
            terms: Of the round.
            num: Sites of the roster.

        Raises:
            ValueError: The change is not finite, or the parts are more than the terms allow.
        """
        if not all(0 <= parts.get(key, 0) <= terms.most_parts for key in self.keys):
            raise ValueError(f"expected at most {terms.most_parts} parts, got {dict(parts)}")
        code = FixedPoint(num, terms.clip_norm)
        norm = change_norm(old, new)
        if not math.isfinite(norm):
            raise ValueError("expected a finite change")
        short = 1.0 if norm <= terms.clip_norm else terms.clip_norm / norm * FINEST
        vector = np.zeros(self.num_words, np.uint32)
        for block in self.blocks:
            if share := parts.get(block.key, 0) / terms.most_parts:
                change = block.of(new).astype(np.float64) - block.of(old)
                vector[block.start : block.stop] = code.encode(change.reshape(-1) * short * share)
        vector[self.num_values :] = [parts.get(key, 0) for key in self.keys]
        return vector

    def parts(self, total: Words) -> dict[int, int]:
        """Return the summed parts."""
        return dict(zip(self.keys, (int(n) for n in total[self.num_values :]), strict=True))

    def mean(self, total: Words, old: Arrays, terms: SecureTerms, num: int) -> Arrays:
        """Return the weighted mean of the sites' weights; rows that nobody sent keep their value.

        Args:
            total: The sum, with all masks gone.
            old: The model that came in.
            terms: Of the round.
            num: Sites of the roster.

        Raises:
            WrongSumError: A mean of changes is longer than any one of them may be, or the parts are
                more than that many sites have. So someone lied, or a mask is left; it cannot be
                told who.
        """
        code, parts = FixedPoint(num, terms.clip_norm), self.parts(total)
        if not parts[ALL] or max(parts.values()) > num * terms.most_parts:
            raise WrongSumError(f"the sites count {parts[ALL]} parts together")
        rounding = num / (2 * code.scale)
        result = {name: old[name].copy() for name in {b.name for b in self.blocks}}
        squares: dict[int, float] = dict.fromkeys(self.keys, 0.0)
        for block in self.blocks:
            if share := parts[block.key] / terms.most_parts:
                change = code.decode(total[block.start : block.stop]) / share
                squares[block.key] += float(np.dot(change, change))
                slack = rounding / share * math.sqrt(self.num_values)
                if not math.sqrt(squares[block.key]) <= terms.clip_norm * (1 + 1e-6) + slack:
                    raise WrongSumError(f"the mean change is longer than {terms.clip_norm:g}")
                target = block.of(result)
                moved = target.astype(np.float64) + change.reshape(block.shape)
                result[block.name][... if block.row is None else block.row] = moved
            elif total[block.start : block.stop].any():
                raise WrongSumError("a row that nobody counts for has changed")
        return result


def _blocks(schema: ParameterSchema, action_units: Sequence[int]) -> Iterator[Block]:
    start = 0
    for spec in sorted(schema.parameters, key=lambda p: p.name):
        rows: list[tuple[int | None, int, tuple[int, ...]]] = [(None, ALL, spec.shape)]
        if spec.role is Role.AU_HEAD:
            rows = [(row, au, spec.shape[1:]) for row, au in enumerate(action_units)]
        for row, key, shape in rows:
            block = Block(spec.name, row, key, start, shape)
            start = block.stop
            yield block
