"""Low-rank adapters (LoRA; Hu et al., arXiv 2106.09685) beside the linear layers of a block.

A frozen matrix W becomes W + alpha / rank * B A, with A (rank, I) and B (O, rank). Fresh adapters
change nothing: B is zero. Few weights train, so little noise falls on the model.

Shapes: N = batch, K = tokens, I, O = inputs and outputs of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core_model.schema import ADAPTED


class Adapter(nn.Module):
    """The low-rank part alone. Shape: (N, K, I) -> (N, K, O)."""

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.scale * self.up(self.down(x))


class AdaptedLinear(nn.Linear):
    """A linear layer with an adapter; its own weights keep their names. (N, K, I) -> (N, K, O)."""

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float) -> None:
        super().__init__(inputs, outputs)
        self.lora = Adapter(inputs, outputs, rank, alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return super().forward(x) + self.lora(x)

    def merged(self) -> nn.Linear:
        """Return one plain layer that computes the same, up to rounding."""
        plain = nn.Linear(self.in_features, self.out_features)
        product = self.lora.up.weight.double() @ self.lora.down.weight.double()  # (O, I)
        with torch.no_grad():
            plain.weight.copy_(self.weight.double() + self.lora.scale * product)
            plain.bias.copy_(self.bias)
        return plain


def adapt(block: nn.Module, rank: int, alpha: float) -> None:
    """Put adapters into a block, in place. Its linear layers get fresh weights."""
    for name in ADAPTED:
        layer = block.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        adapted = AdaptedLinear(layer.in_features, layer.out_features, rank, alpha)
        block.set_submodule(name, adapted)


def merge(module: nn.Module) -> None:
    """Melt all adapters below ``module`` into their layers, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AdaptedLinear):
                setattr(parent, name, child.merged())
