"""The pull back to where a round began, for sites that are unlike each other.

FedProx (Li et al., MLSys 2020, arXiv 1812.06127): each site minimises its own loss plus
``strength / 2`` times the squared distance to the weights that it was sent. Knows no rounds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn


class Proximal:
    """The weights at the start, and how strongly training is held to them.

    The gradient of the term needs no data, so in a private round it joins after the noise, where
    the optimiser takes its step, and costs no budget.

    Args:
        model: With the weights of the start; they are copied.
        names: Of the weights that are held: those that the server sent.
        strength: The paper's mu, above 0.
    """

    def __init__(self, model: nn.Module, names: Collection[str], strength: float) -> None:
        weights = dict(model.named_parameters())
        self._starts = [(weights[name], weights[name].detach().clone()) for name in names]
        self._strength = strength

    def hold(self, optimiser: torch.optim.Optimizer) -> None:
        """Add the term to every step of an optimiser; call it when the model is on its device."""
        self._starts = [(weight, start.to(weight.device)) for weight, start in self._starts]
        optimiser.register_step_pre_hook(self._add_gradient)

    def _add_gradient(self, *_: Any) -> None:
        for weight, start in self._starts:
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - start, alpha=self._strength)
