"""Masked autoencoder (MAE; He et al., arXiv 2111.06377): learn faces without labels.

Most patches are hidden; the encoder sees the rest and a small decoder draws the hidden ones.
The decoder is thrown away after pretraining and never leaves a site.

Shapes: N = batch, L = patches, K = patches kept, P = patch side in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from core_model.config import EncoderConfig, PretrainConfig
from core_model.nn.encoder import (
    LAYER_NORM_EPS,
    Encoder,
    initialise,
    make_positions,
    transformer_block,
)


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches, row by row. Shape: (N, 3, H, W) -> (N, L, P * P * 3)."""
    n, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    x = images.reshape(n, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, -1)


def random_order(num_images: int, num_patches: int, generator: torch.Generator) -> Tensor:
    """Return a random order of patches for each image. Shape: (N, L)."""
    return torch.rand(num_images, num_patches, generator=generator).argsort(dim=1)


def masked_pixel_loss(
    predicted: Tensor, patches: Tensor, masked: Tensor, *, normalise: bool
) -> Tensor:
    """Mean squared error over the hidden patches of all images (paper, section 3).

    Arguments as in ``masked_pixel_errors``. A scalar.
    """
    errors = masked_pixel_errors(predicted, patches, masked, normalise=normalise)
    return errors.sum() / masked.sum()


def masked_pixel_errors(
    predicted: Tensor, patches: Tensor, masked: Tensor, *, normalise: bool
) -> Tensor:
    """Return the mean squared error of each hidden patch, 0 for the others. Shape: (N, L).

    Args:
        predicted: Pixels drawn by the decoder. Shape: (N, L, P * P * 3).
        patches: True pixels. Shape: (N, L, P * P * 3).
        masked: 1 where the patch was hidden. Shape: (N, L).
        normalise: Bring every true patch to mean 0 and variance 1 first.
    """
    if normalise:
        mean = patches.mean(dim=-1, keepdim=True)
        variance = patches.var(dim=-1, keepdim=True)
        patches = (patches - mean) / (variance + 1e-6).sqrt()
    return (predicted - patches).square().mean(dim=-1) * masked


class MaskToken(nn.Module):
    """Append the learned stand-in for hidden patches. Shape: (N, K, D) -> (N, L, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.token, std=0.02)

    def forward(self, tokens: Tensor, num_patches: int) -> Tensor:
        """Append as many as are missing."""
        hidden = self.token.expand(tokens.shape[0], num_patches - tokens.shape[1], -1)
        return torch.cat([tokens, hidden], dim=1)


class Decoder(nn.Module):
    """Draw all patches from the tokens of the kept ones."""

    def __init__(self, encoder: EncoderConfig, config: PretrainConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        self.embed = nn.Linear(encoder.embed_dim, dim)
        self.mask = MaskToken(dim)
        self.positions = make_positions(encoder, dim)
        self.blocks = nn.Sequential(
            *(
                transformer_block(dim, config.decoder_heads, 4.0)
                for _ in range(config.decoder_depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.predict = nn.Linear(dim, encoder.patch_size**2 * 3)
        initialise(self)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Draw. Shapes: tokens (N, K + 1, D) with the class token first, order (N, L)."""
        x = self.embed(tokens)
        cls, kept = x[:, :1], x[:, 1:]
        x = self.mask(kept, num_patches=order.shape[1])  # (N, L, D), in the random order
        back = order.argsort(dim=1)[..., None].expand(-1, -1, x.shape[-1])
        x = self.positions(x.gather(1, back))  # (N, L, D), in the order of the image
        x = self.positions.place_class_token(torch.cat([cls, x], dim=1))
        x = self.norm(self.blocks(x))
        return self.predict(x[:, 1:])


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder for pretraining."""

    def __init__(self, encoder: EncoderConfig, config: PretrainConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(encoder)
        self.decoder = Decoder(encoder, config)
        self.num_kept = int(encoder.num_patches * (1 - config.mask_ratio))

    def forward(self, images: Tensor, order: Tensor) -> Tensor:
        """Draw the patches. Shapes: images (N, 3, H, W), order (N, L) -> (N, L, P * P * 3)."""
        # Hidden pixels are blanked first: a convolution stem would carry them to its neighbours.
        x = self.encoder.embed(images * self.visible(order, images.shape[-1]))
        kept = order[:, : self.num_kept, None].expand(-1, -1, x.shape[-1])
        x = self.encoder.norm(self.encoder.tokens(x.gather(1, kept)))  # (N, K + 1, D)
        return self.decoder(x, order)

    def masked(self, order: Tensor) -> Tensor:
        """Return 1 for each hidden patch, 0 for each kept one. Shape: (N, L)."""
        return torch.ones(order.shape, device=order.device).scatter_(
            1, order[:, : self.num_kept], 0.0
        )

    def visible(self, order: Tensor, image_size: int) -> Tensor:
        """Return 1 for each pixel of a kept patch, else 0. Shape: (N, 1, S, S)."""
        side = math.isqrt(order.shape[1])
        kept = 1 - self.masked(order).view(-1, 1, side, side)
        pixels = image_size // side
        return kept.repeat_interleave(pixels, dim=2).repeat_interleave(pixels, dim=3)

    def loss(self, images: Tensor, order: Tensor) -> Tensor:
        """Return the masked pixel loss. Shapes as in ``forward``; a scalar."""
        return self.loss_of(self(images, order), images, order)

    def loss_of(self, predicted: Tensor, images: Tensor, order: Tensor) -> Tensor:
        """Return the loss of what ``forward`` drew. Shape of predicted: (N, L, P * P * 3)."""
        masked = self.masked(order)
        patches = patchify(images, self.encoder.config.patch_size)
        return masked_pixel_loss(predicted, patches, masked, normalise=self.config.normalise_pixels)

    def losses(self, images: Tensor, order: Tensor) -> Tensor:
        """Return it for each image, over its own hidden patches. Shape: (N,)."""
        masked = self.masked(order)
        patches = patchify(images, self.encoder.config.patch_size)
        errors = masked_pixel_errors(
            self(images, order), patches, masked, normalise=self.config.normalise_pixels
        )
        return errors.sum(dim=1) / masked.sum(dim=1)
