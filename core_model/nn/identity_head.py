"""The identity head: linear as in the paper, or deeper as in its ablation.

Shapes: N = batch, D = feature dimension, S = subjects.
"""

from __future__ import annotations

from typing import Literal

from torch import nn


def make_identity_head(
    dim: int, num_identities: int, layers: Literal[1, 2, 3] = 1
) -> nn.Linear | nn.Sequential:
    """Return the head. Shape: (N, D) -> (N, S).

    One layer is the method. Two (D, D/2, S) and three (D, D/2, D/4, S), with GELU between, are the
    paper's ablation: a deep head can hide from the encoder what it reads.
    """
    if layers == 1:
        return nn.Linear(dim, num_identities)
    steps: list[nn.Module] = []
    width = dim
    for _ in range(layers - 1):
        steps += [nn.Linear(width, width // 2), nn.GELU()]
        width //= 2
    return nn.Sequential(*steps, nn.Linear(width, num_identities))
