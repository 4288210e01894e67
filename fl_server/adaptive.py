"""A step for each weight by how much it was moved before: FedAdam, for few and unlike sites.

Algorithm 2 of Reddi et al., "Adaptive Federated Optimization" (arXiv 2003.00295), with the mean
change of a round as its pseudo-gradient and, as there, no correction of the first rounds' bias.
"""

from __future__ import annotations

import numpy as np

from core_model.schema import Arrays

SECOND = "second:"  # before the name of a weight: its second moment, beside the first


def adapt(
    old: Arrays,
    mean: Arrays,
    moments: Arrays,
    *,
    momentum: float,
    second_momentum: float,
    adaptivity: float,
    learning_rate: float,
) -> tuple[Arrays, Arrays]:
    """Return the new weights and the new moments, first and second of each weight.

    A value that no site changed keeps all three to the bit: rows of AUs that nobody labelled in
    this round do not drift. There the paper's algorithm would go on with the momentum.

    Args:
        old: Weights before the round.
        mean: What the sites came to in the mean.
        moments: Of the rounds before; empty in the first round of a stage.
        momentum: Share of the first moment that is kept, the paper's beta 1.
        second_momentum: Share of the second moment that is kept, beta 2.
        adaptivity: The paper's tau: about the change below which a weight is not sped up.
        learning_rate: Longest usual step of one weight in a round, eta.
    """
    weights: Arrays = {}
    after: Arrays = {}
    for name, target in mean.items():
        change = target - old[name]
        moved = change != 0
        before = moments.get(name, np.zeros_like(change))
        spread = moments.get(SECOND + name, np.full_like(change, adaptivity**2))
        first = momentum * before + (1 - momentum) * change
        second = second_momentum * spread + (1 - second_momentum) * change**2
        step = learning_rate * first / (np.sqrt(second) + adaptivity)
        weights[name] = np.where(moved, old[name] + step, old[name]).astype(np.float32)
        after[name] = np.where(moved, first, before).astype(np.float32)
        after[SECOND + name] = np.where(moved, second, spread).astype(np.float32)
    return weights, after
