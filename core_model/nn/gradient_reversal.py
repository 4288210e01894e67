"""Gradient reversal (Ganin et al., arXiv 1505.07818): identity forward, reversed gradient backward.

Below the reversal the encoder climbs the loss that the head above it descends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: float | Tensor) -> Tensor:
        ctx.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


class GradientReversal(nn.Module):
    """Pass features on unchanged; multiply their gradient by ``-scale``.

    Raises:
        ValueError: ``scale`` is negative.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        if scale < 0:
            raise ValueError(f"expected a reversal scale >= 0, got {scale}")
        self.scale: float | Tensor = scale  # or one for each example: (N, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features``. Shape: any, kept."""
        return _Reverse.apply(features, self.scale)

    def extra_repr(self) -> str:
        """Show the scale when printed."""
        return f"scale={self.scale}"
