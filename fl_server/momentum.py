"""Momentum of the server over rounds: sites that each take few steps learn as fast as one place.

The mean change of a round is a gradient for the server (FedAvgM: Hsu et al., arXiv 1909.06335),
with Nesterov's look ahead (as the outer optimiser of DiLoCo: Douillard et al., arXiv 2311.08105).
"""

from __future__ import annotations

import numpy as np

from core_model.schema import Arrays


def advance(
    old: Arrays, mean: Arrays, velocity: Arrays, *, momentum: float, learning_rate: float
) -> tuple[Arrays, Arrays]:
    """Return the new weights and the new velocity.

    A value that no site changed keeps both to the bit: rows of AUs that nobody labelled in this
    round do not drift. With momentum 0 and rate 1 the new weights are the mean itself.

    Args:
        old: Weights before the round.
        mean: What the sites came to in the mean.
        velocity: Of the rounds before; empty in the first round of a stage.
        momentum: Share of the velocity that is kept, 0 to 1.
        learning_rate: Share of the step that is taken.
    """
    if not momentum and learning_rate == 1:
        return dict(mean), {}
    weights: Arrays = {}
    speed: Arrays = {}
    for name, target in mean.items():
        change = target - old[name]
        before = velocity.get(name, np.zeros_like(change))
        moved = change != 0
        speed[name] = np.where(moved, momentum * before + change, before).astype(np.float32)
        step = np.where(moved, change + momentum * speed[name], 0)
        weights[name] = (old[name] + learning_rate * step).astype(np.float32)
    return weights, speed
