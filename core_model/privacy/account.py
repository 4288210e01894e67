"""What each person's data was charged, and what that comes to. Pure; people are numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core_model.privacy.accounting import Kind, Spend, rdp_epsilons
from core_model.privacy.ledger_lines import Charge, LedgerError
from core_model.privacy.plan import Unit


class Account:
    """The sum of all charges of a ledger, by person and kind of step.

    Attributes:
        names: HMACs of people; their place is their number.
        delta: The smallest that any charge was for; None before the first.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.delta: float | None = None
        self._kinds: list[Kind] = []
        self._steps: NDArray[np.float64] = np.zeros((0, 0))  # (people, kinds)
        self._is_unprotected: NDArray[np.bool_] = np.zeros(0, bool)  # (people,)
        self._noised: list[tuple[Unit, Spend]] = []

    @property
    def num_people(self) -> int:
        """How many people were ever charged."""
        return len(self.names)

    def apply(self, charge: Charge) -> None:
        """Add one charge.

        Raises:
            LedgerError: It names people that it does not introduce.
        """
        for name in charge.joined:
            if name in self.names:
                raise LedgerError(f"charge {charge.seq} introduces a person a second time")
            self.names[name] = self.num_people
        people = np.concatenate([np.zeros(0, int), *(np.array(r, int) for r in charge.people())])
        if people.size and people.max() >= self.num_people:
            raise LedgerError(f"charge {charge.seq} is about people that nobody introduced")
        self._grow(charge.kind)
        if charge.kind is None:
            self._is_unprotected[people] = True
        else:
            self._steps[people, self._kinds.index(charge.kind)] += charge.steps
        if charge.noise is not None:
            self._noised.append((charge.noise.unit, Spend(charge.noise.kind, charge.steps)))
            self.delta = min(self.delta or 1.0, charge.noise.delta)

    def spends(self, unit: Unit | None = None) -> tuple[Spend, ...]:
        """Return all steps with noise, or those about one unit.

        Nobody can have spent more than all of them.
        """
        return tuple(spend for about, spend in self._noised if unit in (None, about))

    def epsilons(
        self, people: Sequence[int | None], delta: float, planned: Spend | None = None
    ) -> NDArray[np.float64]:
        """Return epsilon of some people, after ``planned`` steps more. Shape: (P,).

        Args:
            people: Numbers; None is someone who was never charged.
            delta: For which.
            planned: Steps that are to come.
        """
        kinds = self._kinds if planned is None else list(dict.fromkeys([*self._kinds, planned[0]]))
        known = np.array([p is not None for p in people], bool)
        numbers = np.array([p for p in people if p is not None], int)
        steps = np.zeros((len(people), len(kinds)))
        steps[known, : len(self._kinds)] = self._steps[numbers]
        if planned is not None:
            steps[:, kinds.index(planned.kind)] += planned.steps
        result = rdp_epsilons(steps, kinds, delta)
        unprotected = np.zeros(len(people), bool)
        unprotected[known] = self._is_unprotected[numbers]
        result[unprotected] = np.inf
        return result

    def _grow(self, kind: Kind | None) -> None:
        """Make room for new people and a new kind."""
        if kind is not None and kind not in self._kinds:
            self._kinds.append(kind)
        steps = np.zeros((self.num_people, len(self._kinds)))
        old = self._steps
        if steps.shape != old.shape:
            steps[: old.shape[0], : old.shape[1]] = old
            self._steps = steps
            more = self.num_people - len(self._is_unprotected)
            self._is_unprotected = np.pad(self._is_unprotected, (0, more))
