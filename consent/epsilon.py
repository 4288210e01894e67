"""What an attestation says about added noise, and the least epsilon that this noise can mean.

The server recomputes epsilon from the parameters. It cannot see how much noise was really added.
Rényi differential privacy of the Poisson-sampled Gaussian mechanism (Mironov, Talwar, Zhang 2019),
turned into epsilon as Canonne, Kamath and Steinke (2020, proposition 12) do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from consent.errors import AttestationError
from consent.ledger_state import LedgerState

ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(11, 65), 128, 256, 512)
ROUNDING = Decimal("0.001")  # what a site may lose by writing epsilon with three decimals
_POINTS = 4001  # of the integral; twice as many change no digit that is compared

DecimalText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$")]
SmallText = Annotated[
    str, StringConstraints(pattern=r"^([1-9](\.[0-9]{1,6})?e-[0-9]{1,2}|0\.[0-9]{1,12})$")
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoNoise(_Part):
    """Nothing was added. No promise about single people follows from the mathematics."""

    mechanism: Literal["none"] = "none"


class GaussianNoise(_Part):
    """Gaussian noise on clipped sums over people. Decimals are text: they have one byte form."""

    mechanism: Literal["gaussian"] = "gaussian"
    unit: Literal["subject", "frame"] = "subject"  # a promise about frames is none about people
    accountant: Literal["rdp"] = "rdp"
    noise_multiplier: DecimalText
    max_grad_norm: DecimalText
    sample_rate: DecimalText  # chance of a person to be in a step
    steps: int = Field(ge=1)  # of this round
    delta: SmallText
    epsilon: DecimalText  # of this round
    epsilon_total: DecimalText  # of all rounds of this site, this one included
    ledger: LedgerState | None = None  # the account at the site that these figures come from
    is_simulation: bool = False  # the noise was seeded: it protects nobody

    def spent(self) -> Spent:
        """Return what the round adds to the account."""
        return Spent(
            noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate, steps=self.steps
        )


Privacy = Annotated[NoNoise | GaussianNoise, Field(discriminator="mechanism")]


class Spent(_Part):
    """Steps of one kind that were taken."""

    noise_multiplier: DecimalText
    sample_rate: DecimalText
    steps: int = Field(ge=1)


def check_epsilon(
    stated: GaussianNoise, before: Iterable[Spent], last_total: str | None, most: str | None
) -> None:
    """Check what a site says it spent against its own parameters and against what it said before.

    Args:
        stated: Of this round.
        before: Of all rounds of the site that were admitted; new keys do not empty it.
        last_total: Epsilon over those rounds, as the site stated it.
        most: The budget for all rounds; None: there is none.

    Raises:
        AttestationError: ``wrong_epsilon``, or ``ledger_restarted`` if less was spent in all than
            at an earlier time. Says which rule does not hold.
    """
    if not 0 < float(stated.sample_rate) <= 1 or float(stated.noise_multiplier) <= 0:
        raise AttestationError("wrong_epsilon", "no mechanism has these parameters")
    delta, total = float(stated.delta), Decimal(stated.epsilon_total)
    if total < Decimal(last_total or "0"):
        why = f"epsilon in total was {last_total}, and is {total} now"
        raise AttestationError("ledger_restarted", why)
    floors = {
        "of the round": (Decimal(stated.epsilon), _least([stated.spent()], delta)),
        "in total": (total, _least([*before, stated.spent()], delta)),
    }
    for what, (is_, least) in floors.items():
        if is_ + ROUNDING < least:
            raise AttestationError(
                "wrong_epsilon", f"epsilon {what}: expected {least:.3f} or more, got {is_}"
            )
    if most is not None and total > Decimal(most):
        raise AttestationError("wrong_epsilon", f"budget of {most} exceeded: {total}")


def add_spent(before: Iterable[Spent], more: Spent) -> tuple[Spent, ...]:
    """Return the account with one more round in it; steps of one kind are one line."""
    account = {(s.noise_multiplier, s.sample_rate): s.steps for s in before}
    kind = (more.noise_multiplier, more.sample_rate)
    account[kind] = account.get(kind, 0) + more.steps
    return tuple(
        Spent(noise_multiplier=n, sample_rate=r, steps=k) for (n, r), k in sorted(account.items())
    )


def epsilon_of(spent: Iterable[Spent], delta: float) -> float:
    """Return epsilon of all the steps together, for a delta between 0 and 1."""
    orders = np.array(ORDERS)
    rdp = np.zeros(len(ORDERS))
    for s in spent:
        rdp += s.steps * np.array(_rdp(float(s.noise_multiplier), float(s.sample_rate)))
    epsilons = rdp + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(epsilons.min()))


def _least(spent: Iterable[Spent], delta: float) -> Decimal:
    return Decimal(epsilon_of(spent, delta))


@lru_cache(maxsize=256)
def _rdp(noise_multiplier: float, sample_rate: float) -> tuple[float, ...]:
    """Return the Rényi divergence of one step at each order, by numerical integration.

    E over x ~ N(0, s^2) of ((1 - q) + q exp((2x - 1) / (2 s^2)))^order, in logarithms.
    """
    s, q = noise_multiplier, sample_rate
    if q == 1:
        return tuple(order / (2 * s * s) for order in ORDERS)
    result = []
    for order in ORDERS:
        x = np.linspace(-12 * s, order + 12 * s, _POINTS)
        ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * s * s))
        logs = order * ratio - x * x / (2 * s * s) - math.log(s * math.sqrt(2 * math.pi))
        step = x[1] - x[0]
        total = float(np.logaddexp.reduce(logs)) + math.log(step)
        result.append(max(0.0, total) / (order - 1))
    return tuple(result)
