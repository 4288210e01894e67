"""Our names of weights and those of the official MAE and FMAE code, and what their shapes tell.

Written from the layout alone (keys and shapes); no line of the official code, which is CC-BY-NC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig
from core_model.nn.encoder import sincos_positions
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import schema_of
from core_model.schema import ParameterSchema, Role

Kind = Literal["encoder", "autoencoder", "detector"]

_PREFIXES = {
    "encoder.patches.project.": "patch_embed.proj.",
    "encoder.class_token.token": "cls_token",
    "encoder.positions.table": "pos_embed",
    "encoder.blocks.": "blocks.",
    "encoder.norm.": "norm.",
    "au_head.": "head.",
    "decoder.embed.": "decoder_embed.",
    "decoder.mask.token": "mask_token",
    "decoder.positions.table": "decoder_pos_embed",
    "decoder.blocks.": "decoder_blocks.",
    "decoder.norm.": "decoder_norm.",
    "decoder.predict.": "decoder_pred.",
}

HEADS_BY_DIM = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads cannot be told from shapes; these are ViT's of each width."""
_DECODER_HEADS = 16  # of every official decoder


class LayoutError(ValueError):
    """Weights are not of the official layout, or have no counterpart in it. Says what is wrong."""


def official_name(name: str, config: EncoderConfig, kind: Kind) -> str:
    """Return the official name of one of our weights."""
    if name.startswith("encoder.norm.") and kind == "detector" and config.pooling == "mean":
        return "fc_norm." + name.removeprefix("encoder.norm.")  # timm: the norm after the pool
    if ".lora." in name:
        raise LayoutError(f"{name} has no counterpart there: omote-model merge melts adapters in")
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise LayoutError(f"{name} has no counterpart in the official layout")


def kind_of(state: Mapping[str, Tensor]) -> Kind:
    """Tell what a file of the official layout holds."""
    if "head.weight" in state:
        return "detector"
    return "autoencoder" if "decoder_embed.weight" in state else "encoder"


def encoder_of(state: Mapping[str, Tensor], num_heads: int | None = None) -> EncoderConfig:
    """Return the encoder's shape, told by the weights.

    Raises:
        LayoutError: A weight that tells it is missing or has an impossible shape.
    """
    patches = _shaped(state, "patch_embed.proj.weight", 4)
    positions = _shaped(state, "pos_embed", 3)
    dim, patch_size = patches.shape[0], patches.shape[-1]
    side = math.isqrt(positions.shape[1] - 1) if positions.shape[1] > 1 else 0
    if side < 1 or side * side + 1 != positions.shape[1]:
        raise LayoutError(
            f"pos_embed: expected 1 + a square number of places, got {positions.shape[1]}"
        )
    depth = _depth(state, "blocks.")
    hidden = _shaped(state, "blocks.0.mlp.fc1.weight", 2).shape[0]
    heads = num_heads or HEADS_BY_DIM.get(dim)
    if heads is None:
        raise LayoutError(
            f"width {dim} is not of a known ViT ({sorted(HEADS_BY_DIM)}); say how many attention "
            "heads it has with --heads"
        )
    try:
        return EncoderConfig(
            image_size=side * patch_size,
            patch_size=patch_size,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            mlp_ratio=hidden / dim,
            pooling="class" if "head.weight" in state and "norm.weight" in state else "mean",
            positions="fixed" if _all_fixed(state, side) else "stored",
        )
    except ValueError as e:
        raise LayoutError(f"the weights describe no encoder: {e}") from e


def schema_for(
    config: EncoderConfig, kind: Kind, num_aus: int, state: Mapping[str, Tensor]
) -> ParameterSchema:
    """List our weights for what a file holds. Nothing is allocated: shapes only.

    Raises:
        LayoutError: The decoder's shape cannot be told.
    """
    with torch.device("meta"):
        if kind == "autoencoder":
            dim = _shaped(state, "decoder_embed.weight", 2).shape[0]
            if dim % _DECODER_HEADS or dim % 4:
                raise LayoutError(f"decoder_embed: expected a multiple of 16 rows, got {dim}")
            pretraining = PretrainConfig(
                decoder_dim=dim,
                decoder_depth=_depth(state, "decoder_blocks."),
                decoder_heads=_DECODER_HEADS,
            )
            return schema_of(MaskedAutoencoder(config, pretraining))
        detector = IATModel(config, tuple(range(max(num_aus, 1))), 1, FinetuneConfig())
    roles = {Role.ENCODER} | ({Role.AU_HEAD} if num_aus else set())
    return ParameterSchema(
        parameters=tuple(p for p in schema_of(detector).parameters if p.role in roles)
    )


def interpolate_positions(table: Tensor, side: int) -> Tensor:
    """Bring positions to another number of patches, bicubically. Shape: (1, L + 1, D), L changes.

    A place in the face keeps its position; a fresh sine-cosine table would zoom in instead.
    """
    before = math.isqrt(table.shape[1] - 1)
    grid = table[:, 1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def fixed_table(side: int, dim: int) -> Tensor:
    """Return MAE's fixed positions as the official files hold them. Shape: (1, L + 1, D)."""
    return torch.cat([torch.zeros(1, dim), sincos_positions(side, dim)])[None]


def _all_fixed(state: Mapping[str, Tensor], side: int) -> bool:
    """Tell whether all positions are MAE's fixed ones, to the bit."""
    tables = [state[n] for n in ("pos_embed", "decoder_pos_embed") if n in state]
    return all(
        t.shape[-1] % 4 == 0
        and t.shape == (1, side * side + 1, t.shape[-1])
        and torch.equal(t, fixed_table(side, t.shape[-1]))
        for t in tables
    )


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {n.removeprefix(prefix).split(".", 1)[0] for n in state if n.startswith(prefix)}
    if numbers != {str(i) for i in range(len(numbers))} or not numbers:
        raise LayoutError(f"{prefix}*: expected blocks numbered from 0, got {sorted(numbers)[:5]}")
    return len(numbers)


def _shaped(state: Mapping[str, Tensor], name: str, ndim: int) -> Tensor:
    """Return a weight that must be there with so many axes, none of them empty."""
    if name not in state:
        raise LayoutError(f"{name} is missing: this is not a ViT of MAE or FMAE")
    if state[name].ndim != ndim or 0 in state[name].shape:
        raise LayoutError(f"{name}: expected {ndim} axes, got shape {tuple(state[name].shape)}")
    return state[name]
