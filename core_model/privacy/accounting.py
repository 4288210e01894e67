"""What steps of the Poisson-sampled Gaussian mechanism cost, in epsilon. Imports no torch.

Two accountants. Rényi (RDP) is fast and easy to check, a server can recompute it, and it decides:
budgets are held by it. PRV, from Opacus, is tighter and slower; it is for reports only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

# Those of consent.epsilon, by which servers check: equal orders give equal decimals.
ORDERS = np.array([*(1 + x / 10 for x in range(1, 100)), *range(11, 65), 128, 256, 512])
MOST_KINDS_PRV = 12  # of steps; each is a distribution of its own to convolve
MOST_EPSILON_PRV = 30.0  # beyond, its grid fills the memory and the answer helps nobody
MOST_NOISE = 1e6
_FRACTIONAL = ORDERS % 1 != 0


class Kind(NamedTuple):
    """Steps with equal noise and sampling cost the same."""

    noise_multiplier: float
    sampling_rate: float


class Spend(NamedTuple):
    """Some steps of one kind."""

    kind: Kind
    steps: int


class Report(NamedTuple):
    """Epsilon, and which accountant says so."""

    epsilon: float
    accountant: Literal["prv", "rdp"]


def merged(spends: Iterable[Spend]) -> tuple[Spend, ...]:
    """Return one line for each kind: 200 equal rounds cost no more to account than one."""
    steps: dict[Kind, int] = {}
    for kind, number in spends:
        steps[kind] = steps.get(kind, 0) + number
    return tuple(Spend(kind, number) for kind, number in sorted(steps.items()) if number)


def rdp_epsilon(spends: Iterable[Spend], delta: float) -> float:
    """Return epsilon of all the steps together, by RDP; an upper bound."""
    lines = merged(spends)
    steps = np.array([[line.steps for line in lines]], float)
    return float(rdp_epsilons(steps, [line.kind for line in lines], delta)[0])


def rdp_epsilons(
    steps: NDArray[np.float64], kinds: Sequence[Kind], delta: float
) -> NDArray[np.float64]:
    """Return epsilon of many people at once.

    Args:
        steps: Of each person and kind. Shape: (P, K).
        kinds: K of them.
        delta: Between 0 and 1.
    """
    costs = np.array([rdp_of_step(kind) for kind in kinds]).reshape(len(kinds), len(ORDERS))
    return _to_epsilon(steps @ costs, delta)


def prv_epsilon(spends: Iterable[Spend], delta: float) -> float:
    """Return epsilon by Opacus' PRV accountant: an upper bound, at most 0.01 too large."""
    from opacus.accountants import PRVAccountant  # pulls in torch

    accountant = PRVAccountant()
    accountant.history = [(*kind, steps) for kind, steps in merged(spends)]
    if not accountant.history:
        return 0.0
    with np.errstate(divide="ignore"):  # at rate 1 it takes the logarithm of zero, and means it
        return max(0.0, float(accountant.get_epsilon(delta)))


def report(spends: Iterable[Spend], delta: float) -> Report:
    """Return the tightest epsilon that can be had in about a second."""
    lines = merged(spends)
    bound = rdp_epsilon(lines, delta)
    if not lines or len(lines) > MOST_KINDS_PRV or bound > MOST_EPSILON_PRV:
        return Report(bound, "rdp")
    tight = prv_epsilon(lines, delta)
    return Report(tight, "prv") if tight < bound else Report(bound, "rdp")


def calibrate(target_epsilon: float, *, sampling_rate: float, steps: int, delta: float) -> float:
    """Return the least noise multiplier, to four digits, for which ``steps`` keep the target.

    By RDP, as budgets are held: a plan made so runs to its end before anybody's budget does.

    Raises:
        ValueError: No noise is enough.
    """

    def fits(noise_multiplier: float) -> bool:
        spend = Spend(Kind(noise_multiplier, sampling_rate), steps)
        return rdp_epsilon([spend], delta) <= target_epsilon

    low, high = 0.0, 1.0
    while not fits(high):
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise ValueError(
                f"epsilon {target_epsilon} at delta {delta} is out of reach for {steps} steps; "
                "take fewer steps, a lower sampling rate or a larger epsilon"
            )
    while high - low > 1e-5 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    digits = 3 - math.floor(math.log10(high))
    return math.ceil(high * 10**digits) / 10**digits


@lru_cache(maxsize=256)
def rdp_of_step(kind: Kind) -> NDArray[np.float64]:
    """Return the Rényi divergence of one step at each order (Mironov, Talwar, Zhang 2019)."""
    s, q = kind
    if q == 1:
        return np.asarray(ORDERS / (2 * s * s))
    result = np.empty(len(ORDERS))
    result[~_FRACTIONAL] = _at_whole(ORDERS[~_FRACTIONAL], s, q)
    result[_FRACTIONAL] = _at_fractional(ORDERS[_FRACTIONAL], s, q)
    return np.asarray(np.maximum(result, 0) / (ORDERS - 1))


def _at_whole(orders: NDArray[np.float64], s: float, q: float) -> NDArray[np.float64]:
    """Return log A(order) by the binomial sum of section 3.3."""
    k = np.arange(orders.max() + 1)[:, None]  # (K, 1) against (O,)
    with np.errstate(invalid="ignore"):
        terms = (
            gammaln(orders + 1) - gammaln(k + 1) - gammaln(np.maximum(orders - k, 0) + 1)
            + (orders - k) * math.log1p(-q) + k * math.log(q) + (k * k - k) / (2 * s * s)
        )  # fmt: skip
    return np.asarray(logsumexp(np.where(k <= orders, terms, -np.inf), axis=0))


def _at_fractional(orders: NDArray[np.float64], s: float, q: float) -> NDArray[np.float64]:
    """Return log A(order) = log E over N(0, s^2) of ((1-q) + q exp((2x-1)/(2s^2)))^order.

    The trapezium rule: its error falls as exp(-1/step) for a function this smooth.
    """
    low, high = -12 * s, orders.max() + 12 * s
    step = max(min(s / 8, s * s / 2), (high - low) / 20_000)
    x = np.arange(low, high + step, step)
    ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * s * s))
    logs = orders[:, None] * ratio - x * x / (2 * s * s)
    return np.asarray(logsumexp(logs, axis=1) + math.log(step / (s * math.sqrt(2 * math.pi))))


def _to_epsilon(rdp: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """Return the least epsilon over orders (Canonne, Kamath, Steinke 2020, proposition 12)."""
    price = np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    epsilons = np.maximum((rdp + price).min(axis=-1), 0.0)
    return np.where(rdp[..., -1] > 0, epsilons, 0.0)  # no steps, no cost
