"""One-run audit: a lower bound on what a mechanism really gives away, measured on canary people.

Each canary is put in by the toss of a coin. Whoever sees all that the mechanism released guesses
the coins; a mechanism that keeps its promise makes such guesses hard, whatever the attack (Steinke,
Nasr and Jagielski, arXiv 2305.08846). A bound above the promise proves a fault. One below proves
nothing: with some hundred canaries, epsilons above about 2 cannot be told from larger ones.

Shapes: M = canaries, P = all weights that train, laid end to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom
from torch import Tensor, nn

from core_model.privacy.clipping import ClipGroup, LossOfFrames, UnitClipper
from core_model.privacy.plan import PrivacyPlan

GUESSES = 1 / 6  # share of the canaries that the audit dares to guess, fixed in advance
SUSPECTED = 4.0
_MOST_EPSILON = 60.0


class Audit(NamedTuple):
    """What an audit found; with 95 % confidence epsilon is at least ``least_epsilon``."""

    least_epsilon: float
    guesses: int
    right: int


class GradientWatcher(torch.optim.SGD):
    """An attacker who takes part in training: adds up every gradient that is released."""

    def __init__(self, weights: Iterable[tuple[str, nn.Parameter]]) -> None:
        watched = [w for _, w in weights]
        super().__init__([{"params": [w], "rate_scale": 1.0} for w in watched], lr=0.0)
        self.seen = torch.zeros(sum(w.numel() for w in watched))

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Look, then move the weights."""
        gradients = [w.grad for g in self.param_groups for w in g["params"]]
        self.seen += torch.cat([g.flatten().cpu() for g in gradients])
        super().step(closure)


def directions(
    model: nn.Module, group: ClipGroup, plan: PrivacyPlan, loss: LossOfFrames, frames: Tensor
) -> Tensor:
    """Return the clipped gradient of each canary alone. Shapes: frames (M, R); (M, P)."""
    clipper = UnitClipper(model, [group], plan.clipping)
    rows = []
    for unit in frames:
        sums = clipper.clipped_sums(loss, unit[None])
        rows.append(torch.cat([sums[name].flatten() for name in group.names]).cpu())
    clipper.release()
    return torch.stack(rows)


def scores(
    gradients: Tensor, released: Tensor, plan: PrivacyPlan, steps: int
) -> NDArray[np.float64]:
    """Return how likely each canary looks to have been in, as numbers to be ranked. Shape: (M,).

    The mean of the coins given what was released, if coins were normal: canaries whose gradients
    overlap are told apart as well as noise allows. The attacker hopes for gradients that are
    ``SUSPECTED`` times too long. Shapes: gradients (M, P), released (P,).
    """
    g = gradients.double()
    seen = released.double() * plan.denominator / plan.sampling_rate / steps
    noise = plan.noise_multiplier * plan.clip_norm / plan.sampling_rate / steps**0.5 / SUSPECTED
    overlap = g @ g.T
    surprise = g @ seen - 0.5 * overlap.sum(dim=1)  # beyond the mean of all coins, 1/2 each
    spread = 0.25 * overlap + noise**2 * torch.eye(len(g), dtype=torch.float64)
    return (0.25 * torch.linalg.solve(spread, surprise)).numpy()


def audit(ranked: NDArray[np.float64], included: NDArray[np.bool_], delta: float) -> Audit:
    """Guess the highest as in and the lowest as out, and say what that proves.

    Shapes: (M,) each.
    """
    k = max(1, int(len(ranked) * GUESSES / 2))
    order = np.argsort(ranked)
    right = int(included[order[-k:]].sum() + (~included[order[:k]]).sum())

    def excess(epsilon: float) -> float:
        return p_value(len(ranked), 2 * k, right, epsilon, delta) - 0.05

    if excess(0.0) > 0:
        return Audit(0.0, 2 * k, right)
    if excess(_MOST_EPSILON) < 0:
        return Audit(_MOST_EPSILON, 2 * k, right)
    return Audit(float(brentq(excess, 0.0, _MOST_EPSILON)), 2 * k, right)


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Bound the chance of so many right guesses under (epsilon, delta) (paper, theorem 5.2)."""
    if not right:
        return 1.0
    chance = expit(epsilon)
    as_many = float(binom.sf(right - 1, guesses, chance))
    i = np.arange(1, right + 1)
    fewer = binom.sf(right - i - 1, guesses, chance) - as_many
    return min(1.0, as_many + 2 * canaries * delta * max(0.0, float(np.max(fewer / i))))
