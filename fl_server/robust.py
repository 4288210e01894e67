"""Means that one bad site cannot move far. They hold all updates of a round in memory.

They need updates in clear, look at each coordinate or each site, and give up something for it: the
trimmed mean and the median forget what few sites know alone, Krum leaves out who is merely unlike
the others. With sites as unlike as ours that is a price (docs/server.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core_model.config import Settings
from core_model.norms import change_norm
from core_model.schema import Arrays, ParameterSchema, Role
from fl_server.aggregation import Aggregator

Rule = Literal["mean", "clipped_mean", "trimmed_mean", "median", "multi_krum"]
FINEST = 1.0 - 2.0**-22  # a change that was clipped is never rounded beyond its bound


class RobustSettings(Settings):
    """How a round's updates become one. The fields are public numbers."""

    rule: Rule = "mean"
    clip_norm: float = Field(1.0, gt=0)  # clipped_mean: a longer change is shortened to this
    num_bad: int = Field(1, ge=0)  # trimmed_mean, multi_krum: sites that may lie


class Folding(Protocol):
    """Takes the updates of one round, one by one, and gives one model."""

    def fold(self, arrays: Arrays, weight: float, row_weights: Mapping[int, float]) -> None:
        """Add one update."""
        ...

    def mean(self, old: Arrays) -> Arrays:
        """Return the model; rows that no site labels keep their old value."""
        ...


def make_aggregator(
    settings: RobustSettings, schema: ParameterSchema, action_units: tuple[int, ...], old: Arrays
) -> Folding:
    """Return what adds up the updates of one round by the rule of ``settings``."""
    if settings.rule == "mean":
        return Aggregator(schema, action_units)
    if settings.rule == "clipped_mean":
        return _Clipped(Aggregator(schema, action_units), old, settings.clip_norm)
    if settings.rule == "multi_krum":
        return _MultiKrum(schema, action_units, settings.num_bad)
    trim = settings.num_bad if settings.rule == "trimmed_mean" else None
    return _ByCoordinate(schema, action_units, trim)


def least_sites(settings: RobustSettings) -> int:
    """Return how many updates a rule needs to keep its promise."""
    needs = {"trimmed_mean": 2 * settings.num_bad + 1, "multi_krum": 2 * settings.num_bad + 3}
    return needs.get(settings.rule, 1)


class _Clipped:
    """The weighted mean of changes that are no longer than ``clip_norm``; streaming."""

    def __init__(self, inner: Aggregator, old: Arrays, clip_norm: float) -> None:
        self._inner, self._old, self._clip_norm = inner, old, clip_norm

    def fold(self, arrays: Arrays, weight: float, row_weights: Mapping[int, float]) -> None:
        norm = change_norm(self._old, arrays)
        if norm > self._clip_norm:
            factor = np.float32(self._clip_norm / norm * FINEST)
            arrays = {n: self._old[n] + factor * (a - self._old[n]) for n, a in arrays.items()}
        self._inner.fold(arrays, weight, row_weights)

    def mean(self, old: Arrays) -> Arrays:
        return self._inner.mean(old)


class _Kept:
    """Keeps a round's updates."""

    def __init__(self, schema: ParameterSchema, action_units: tuple[int, ...]) -> None:
        self._schema, self._action_units = schema, action_units
        self._rowwise = {p.name for p in schema.parameters if p.role is Role.AU_HEAD}
        self._updates: list[tuple[Arrays, float, dict[int, float]]] = []

    def fold(self, arrays: Arrays, weight: float, row_weights: Mapping[int, float]) -> None:
        copies = {p.name: arrays[p.name].copy() for p in self._schema.parameters}
        self._updates.append((copies, weight, dict(row_weights)))


class _ByCoordinate(_Kept):
    """The mean of each coordinate without its extremes, or its median. Weights do not count."""

    def __init__(
        self, schema: ParameterSchema, action_units: tuple[int, ...], trim: int | None
    ) -> None:
        super().__init__(schema, action_units)
        self._trim = trim

    def mean(self, old: Arrays) -> Arrays:
        result: Arrays = {}
        for name in (p.name for p in self._schema.parameters):
            if name in self._rowwise:
                rows = []
                for k, au in enumerate(self._action_units):
                    there = [
                        a[name][k : k + 1] for a, _, labelled in self._updates if au in labelled
                    ]
                    rows.append(self._middle(there, old[name][k : k + 1]))
                result[name] = np.concatenate(rows)
            else:
                result[name] = self._middle([a[name] for a, _, _ in self._updates], old[name])
        return result

    def _middle(
        self, values: list[NDArray[np.float32]], old: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if not values:
            return old.copy()
        stacked = np.sort(np.stack(values), axis=0)
        # Where few sites label an AU there may be too few to leave out: then the median is left.
        most = (len(values) - 1) // 2
        cut = most if self._trim is None else min(self._trim, most)
        kept = stacked[cut : len(values) - cut]
        middle: NDArray[np.float64] = kept.mean(axis=0, dtype=np.float64)
        return middle.astype(np.float32)


class _MultiKrum(_Kept):
    """The weighted mean of the updates that lie closest to others (Blanchard et al., NeurIPS 2017).

    Distances are over what all sites train; rows of the AU head are of different AUs.
    """

    def __init__(
        self, schema: ParameterSchema, action_units: tuple[int, ...], num_bad: int
    ) -> None:
        super().__init__(schema, action_units)
        self._num_bad = num_bad

    def mean(self, old: Arrays) -> Arrays:
        inner = Aggregator(self._schema, self._action_units)
        for index in self.chosen():
            inner.fold(*self._updates[index])
        return inner.mean(old)

    def chosen(self) -> list[int]:
        """Return the updates that count, in the order in which they came."""
        num = len(self._updates)
        distances = np.zeros((num, num))
        names = [p.name for p in self._schema.parameters if p.name not in self._rowwise]
        for i in range(num):
            for j in range(i):
                a, b = self._updates[i][0], self._updates[j][0]
                far = change_norm({n: a[n] for n in names}, {n: b[n] for n in names}) ** 2
                distances[i, j] = distances[j, i] = far
        nearest = max(1, num - self._num_bad - 2)
        scores = np.sort(distances, axis=1)[:, 1 : 1 + nearest].sum(axis=1)  # not to itself
        best = np.argsort(scores, kind="stable")[: max(1, num - self._num_bad)]
        return sorted(int(k) for k in best)
