"""The vision transformer that turns a face into one feature vector.

Written on timm's blocks. Every weight sits in a leaf module that per-example gradients (DP) can
handle; positions are fixed 2-D sine and cosine as in MAE, so any image size needs no new weights.
Weights from elsewhere may bring positions of their own: those are kept and never trained
(docs/adr/0010).

Shapes: N = batch, L = patches, K = patches kept, D = feature dimension.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from core_model.config import EncoderConfig
from core_model.nn.adapters import Adapter, adapt

LAYER_NORM_EPS = 1e-6


def sincos_positions(side: int, dim: int) -> Tensor:
    """Return 2-D sine-cosine position embeddings (MAE, appendix A). Shape: (side * side, dim)."""
    frequencies = 1.0 / 10_000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    steps = torch.outer(torch.arange(side, dtype=torch.float64), frequencies)  # (side, dim / 4)
    one_axis = torch.cat([steps.sin(), steps.cos()], dim=1)  # (side, dim / 2)
    across = one_axis.repeat(side, 1)
    down = one_axis.repeat_interleave(side, dim=0)
    return torch.cat([across, down], dim=1).float()


class PatchStem(nn.Module):
    """Cut an image into patches and project each one. Shape: (N, 3, H, W) -> (N, L, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.project = nn.Conv2d(
            3, config.embed_dim, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, images: Tensor) -> Tensor:
        """Project the patches, row by row."""
        return self.project(images).flatten(2).transpose(1, 2)


class ConvolutionStem(nn.Module):
    """Early convolutions (Xiao et al., arXiv 2106.14881). Shape: (N, 3, H, W) -> (N, L, D).

    Four steps of stride 2 make patches of 16 pixels. Group norm: no example sees another.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths = [3, *(config.embed_dim * share // 16 for share in (3, 6, 12, 16))]
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(4, after),
                nn.GELU(),
            ]
        steps.append(nn.Conv2d(widths[-1], config.embed_dim, kernel_size=1))
        self.steps = nn.Sequential(*steps)

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens, row by row."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.steps(images).flatten(2).transpose(1, 2)


class FixedPositions(nn.Module):
    """Add fixed position embeddings. Shape: (N, L, D) -> (N, L, D). Holds no weights."""

    table: Tensor

    def __init__(self, side: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("table", sincos_positions(side, dim), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the table."""
        return tokens + self.table

    def place_class_token(self, tokens: Tensor) -> Tensor:
        """Give token 0 its position: none. Shape: (N, K + 1, D), kept."""
        return tokens


class StoredPositions(nn.Module):
    """Add the positions that came with foreign weights. Shape: (N, L, D) -> (N, L, D).

    Row 0 is the class token's. They are weights, so they travel with a checkpoint, but no loop
    trains them: gradients of trained positions tell where in the image a feature was (APRIL,
    arXiv 2112.14087).
    """

    def __init__(self, side: int, dim: int) -> None:
        super().__init__()
        table = torch.cat([torch.zeros(1, dim), sincos_positions(side, dim)])
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the table."""
        return tokens + self.table[1:]

    def place_class_token(self, tokens: Tensor) -> Tensor:
        """Give token 0 its position. Shape: (N, K + 1, D), kept."""
        return torch.cat([tokens[:, :1] + self.table[:1], tokens[:, 1:]], dim=1)


def make_positions(config: EncoderConfig, dim: int) -> FixedPositions | StoredPositions:
    """Return the positions that ``config`` asks for, ``dim`` wide."""
    side = config.image_size // config.patch_size
    return StoredPositions(side, dim) if config.positions == "stored" else FixedPositions(side, dim)


class ClassToken(nn.Module):
    """Prepend a learned token. Shape: (N, K, D) -> (N, K + 1, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Prepend."""
        return torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class MeanPool(nn.Module):
    """Average the patch tokens, as the paper does. Shape: (N, L, D) -> (N, D)."""

    def forward(self, patches: Tensor) -> Tensor:
        """Average."""
        return patches.mean(dim=1)


class WeightedPool(nn.Module):
    """Average with a learned weight for each place and feature. Shape: (N, L, D) -> (N, D).

    Faces are aligned, so a place in the image is a place in the face. A plain mean hides one moving
    lip corner among all patches: a small encoder needs many more steps to find it (docs/adr/0003).
    """

    def __init__(self, num_patches: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_patches, dim))

    def forward(self, patches: Tensor) -> Tensor:
        """Average."""
        return (patches * self.weight).mean(dim=1)


class Encoder(nn.Module):
    """Vision transformer encoder, the same in pretraining and in fine-tuning."""

    def __init__(self, config: EncoderConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config = config
        self.patches: nn.Module = PatchStem(config)
        if config.stem == "convolution":
            self.patches = ConvolutionStem(config)
        self.positions = make_positions(config, dim)
        self.class_token = ClassToken(dim)
        rates = torch.linspace(0, drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.Sequential(
            *(transformer_block(dim, config.num_heads, config.mlp_ratio, rate) for rate in rates)
        )
        if config.lora_rank:
            for block in self.blocks:
                adapt(block, config.lora_rank, config.lora_alpha)
        self.pool: nn.Module = MeanPool()
        if config.pooling == "weighted":
            self.pool = WeightedPool(config.num_patches, dim)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        initialise(self)
        if config.stem == "convolution":  # colours last in memory: twice as fast on a CPU
            self.patches.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Tensor:
        """Return patch tokens with their positions. Shape: (N, 3, H, W) -> (N, L, D)."""
        return self.positions(self.patches(images))

    def tokens(self, patches: Tensor) -> Tensor:
        """Run the blocks. Shape: (N, K, D) -> (N, K + 1, D); token 0 is the class token."""
        return self.blocks(self.positions.place_class_token(self.class_token(patches)))

    def forward(self, images: Tensor) -> Tensor:
        """Encode faces: the normalised pool of the patch tokens. Shape: (N, 3, H, W) -> (N, D)."""
        x = self.tokens(self.embed(images))  # (N, L + 1, D)
        return self.norm(x[:, 0] if self.config.pooling == "class" else self.pool(x[:, 1:]))


def transformer_block(dim: int, num_heads: int, mlp_ratio: float, drop_path: float = 0.0) -> Block:
    """Return a pre-norm block of ViT. Plain ``nn.LayerNorm``: per-example gradients know it."""
    norm: Any = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)  # timm's type hint asks for a class
    return Block(dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=norm, drop_path=drop_path)


def initialise(module: nn.Module) -> None:
    """Set MAE's initial weights: Xavier for matrices, zero for biases, N(0, 0.02) for tokens."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.view(part.weight.shape[0], -1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        if isinstance(part, ClassToken):
            nn.init.normal_(part.token, std=0.02)
        if isinstance(part, Adapter):
            nn.init.zeros_(part.up.weight)  # a fresh adapter changes nothing
