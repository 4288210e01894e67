"""Bottlenecks beside the MLP of each block (AdaptFormer; Chen et al., arXiv 2205.13535).

A fresh one adds nothing, so a model with bottlenecks starts as the model it was. The frozen
weights keep their names. They learn at one site and stay there; the low-rank adapters of a
federation are ``core_model.nn.adapters``.

Shapes: N = batch, K = tokens, D = feature dimension, B = width of a bottleneck.
"""

from __future__ import annotations

from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from core_model.nn.encoder import Encoder


class Bottleneck(nn.Module):
    """Down, ReLU, up, scaled. Shape: (N, K, D) -> (N, K, D)."""

    def __init__(self, dim: int, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for fresh in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(fresh)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what is added to the MLP's answer."""
        return self.scale * self.up(F.relu(self.down(tokens)))


class BottleneckMlp(Mlp):
    """A block's MLP with a bottleneck that sees the same normalised tokens."""

    def __init__(self, mlp: Mlp, bottleneck: Bottleneck) -> None:
        nn.Module.__init__(self)
        for name, part in mlp.named_children():
            self.add_module(name, part)
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, K, D) -> (N, K, D)."""
        return super().forward(x) + self.bottleneck(x)


def add_bottlenecks(encoder: Encoder, width: int, scale: float) -> None:
    """Put a fresh bottleneck into every block, in place. Draws from torch's global generator.

    Raises:
        ValueError: It has bottlenecks already.
    """
    for block in encoder.blocks:
        if isinstance(block.mlp, BottleneckMlp):
            raise ValueError("the encoder has bottlenecks already; adapt the weights before them")
        mlp = block.mlp
        assert isinstance(mlp, Mlp)
        added = Bottleneck(encoder.config.embed_dim, width, scale)
        block.mlp = BottleneckMlp(mlp, added.to(next(block.parameters()).device))
