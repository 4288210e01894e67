"""Learning rates: warm-up and half cosine over the run, smaller towards the input."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from core_model.config import OptimiserConfig


def learning_rate(config: OptimiserConfig, progress: float) -> float:
    """Return the rate at ``progress`` (0 to 1) of the whole run: linear warm-up, half cosine."""
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    done = (progress - config.warmup) / (1 - config.warmup)
    low, peak = config.min_learning_rate, config.learning_rate
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def layer_of(name: str, depth: int) -> int:
    """Return the layer of a weight: 0 the embedding, 1 to ``depth`` the blocks, then the rest."""
    if name.startswith(("encoder.patches.", "encoder.class_token.")):
        return 0
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
    return depth + 1


def make_optimiser(
    weights: Iterable[tuple[str, nn.Parameter]],
    config: OptimiserConfig,
    depth: int,
    rates: dict[str, float] | None = None,
) -> torch.optim.AdamW:
    """Return AdamW with a group for each weight; ``rate_scale`` in a group scales its rate.

    ``rates`` gives further factors by the name of a submodule. Biases, norms and tokens have no
    weight decay.
    """
    groups: list[dict[str, Any]] = []
    for name, weight in weights:
        decay = config.weight_decay if weight.ndim > 1 and "token" not in name else 0.0
        scale = config.layer_decay ** (depth + 1 - layer_of(name, depth))
        scale *= (rates or {}).get(name.split(".", 1)[0], 1.0)
        groups.append({"params": [weight], "weight_decay": decay, "rate_scale": scale})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group, scaled as the group says."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_scale"]
