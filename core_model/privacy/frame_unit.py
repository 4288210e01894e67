"""What a promise about one frame is worth to the person who is in many. Usually: nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal, NamedTuple

from core_model.privacy.accounting import Spend, merged, rdp_epsilon

MOST_STEPS = 200  # halvings of the search below
_NEGLIGIBLE = 1e-14  # of chance
_INTERVALS = (0.1, 0.01, 0.001)  # of the grid of losses
_FINE_ENOUGH = 300  # intervals


class PersonLevel(NamedTuple):
    """Epsilon of a person, and where it comes from."""

    epsilon: float
    method: Literal["mixture of Gaussians", "group privacy"]


def person_epsilon(spends: Iterable[Spend], frames: int, delta: float) -> PersonLevel:
    """Return what steps that sampled *frames* mean for a person with so many of them.

    Exact with the extra ``[accounting]``. Without it, a bound by group privacy, which is valid and
    far larger.

    Args:
        spends: Steps whose unit was a frame.
        frames: At most so many are of one person.
        delta: Of the person.
    """
    lines = merged(spends)
    if not lines:
        return PersonLevel(0.0, "group privacy")
    if find_spec("dp_accounting") is None:
        return PersonLevel(_by_group(lines, frames, delta), "group privacy")
    return PersonLevel(_by_mixture(lines, frames, delta), "mixture of Gaussians")


def _by_mixture(lines: tuple[Spend, ...], frames: int, delta: float) -> float:
    """A step takes Binomial(frames, q) of a person's frames; each moves the sum by the clip norm.

    Tight accounting of that: Choquette-Choo, Ganesh, Steinke, Thakurta, arXiv 2401.10294.
    """
    from dp_accounting.dp_event import MixtureOfGaussiansDpEvent
    from dp_accounting.pld import PLDAccountant
    from scipy.stats import binom

    events = []
    for (noise_multiplier, sampling_rate), steps in lines:
        taken = {k: float(binom.pmf(k, frames, sampling_rate)) for k in range(frames + 1)}
        likely = {k: p for k, p in taken.items() if p > _NEGLIGIBLE}
        total = math.fsum(likely.values())
        sizes, chances = [float(k) for k in likely], [p / total for p in likely.values()]
        events.append((MixtureOfGaussiansDpEvent(noise_multiplier, sizes, chances), steps))
    epsilon = math.inf
    for interval in _INTERVALS:  # all are upper bounds; a finer one takes longer
        accountant = PLDAccountant(value_discretization_interval=interval)
        for event, steps in events:
            accountant.compose(event, steps)
        epsilon = min(epsilon, float(accountant.get_epsilon(delta)))
        if epsilon > _FINE_ENOUGH * interval:
            break
    return epsilon


def _by_group(lines: tuple[Spend, ...], frames: int, delta: float) -> float:
    """Return the least e * frames for which one frame has e at delta (e^e - 1) / (e^(e G) - 1)."""

    def one_frame(e: float) -> float:
        share = max(math.log(math.expm1(e)) - frames * e, -700.0)  # 1e-304: floats end there
        return rdp_epsilon(lines, max(delta * math.exp(share), 1e-300))

    low, high = 0.0, 1.0
    while one_frame(high) > high:
        low, high = high, 2 * high
        if frames * high > 700:
            return math.inf  # no float tells it apart from no promise at all
    for _ in range(MOST_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if one_frame(middle) <= middle else (middle, high)
    return frames * high
