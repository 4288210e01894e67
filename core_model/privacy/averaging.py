"""The mean of iterates: noise of single steps averages out, and costs no privacy.

De et al. (arXiv 2204.13650, section 3.1). What is made of private weights alone is private.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class IterateMean:
    """A moving mean of weights; young means forget faster, so that the start does not linger."""

    def __init__(self, weights: Iterable[nn.Parameter], decay: float) -> None:
        self._weights, self._decay, self._steps = list(weights), decay, 0
        self._means = [w.detach().clone() for w in self._weights] if decay else []

    def update(self) -> None:
        """Take in the weights as they are now."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for mean, weight in zip(self._means, self._weights, strict=False):
            mean.lerp_(weight.detach(), 1 - decay)

    def store(self) -> None:
        """Put the means into the model; with decay 0 the last iterates stay."""
        with torch.no_grad():
            for mean, weight in zip(self._means, self._weights, strict=False):
                weight.copy_(mean)
