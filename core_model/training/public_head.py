"""Train an identity head of public people on the features of an encoder that stays as it is.

Shapes: F = frames, D = feature dimension, S = people.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_model.frozen_head import BIAS, WEIGHT
from core_model.schema import Arrays

STEPS, RATE, DECAY = 400, 0.02, 1e-4


def fit_head(features: Tensor, identities: Tensor, num_people: int, seed: int) -> Arrays:
    """Return a linear head that names people from features, by full batches of Adam.

    Features are not rescaled: the encoder of a private round gives them as they are.
    Shapes: (F, D), (F,).

    Raises:
        ValueError: There are fewer than two people.
    """
    if num_people < 2:
        raise ValueError(f"a head tells people apart; expected two or more, got {num_people}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[1], num_people)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimiser.zero_grad()
        F.cross_entropy(head(features), identities).backward()
        optimiser.step()
    weight, bias = (p.detach().numpy().copy() for p in (head.weight, head.bias))
    return {WEIGHT: weight, BIAS: bias}


@torch.inference_mode()
def share_named(head: Arrays, features: Tensor, identities: Tensor) -> float:
    """Return the share of frames whose person the head names. Shapes: (F, D), (F,)."""
    logits = features @ torch.from_numpy(head[WEIGHT]).T + torch.from_numpy(head[BIAS])
    return float((logits.argmax(dim=1) == identities).float().mean())
