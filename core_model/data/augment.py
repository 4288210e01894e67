"""Random changes of face images that leave the Action Units as they are.

Shapes: N = batch, S = image side in pixels. Images are in [0, 1] before, standardised after.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, as every MAE checkpoint expects
STD = (0.229, 0.224, 0.225)


def standardise(images: Tensor) -> Tensor:
    """Bring images to ImageNet's mean and deviation. Shape: (N, 3, S, S), kept."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images. Shape: (N, 3, S, S), kept."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror, move, turn and scale a little, and change light and colour. Shape: kept."""
    n = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    angle, zoom, shift = uniform(-0.15, 0.15), uniform(0.85, 1.1), uniform(-0.08, 0.08, 2)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    affine = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(n, 2, 3)
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(flip(images, generator), grid, padding_mode="border", align_corners=False)
    gain, offset = uniform(0.75, 1.3, 3, 1, 1), uniform(-0.1, 0.1, 1, 1, 1)
    grey = uniform(0.9, 1.1, 1, 1, 1)
    gain = 1 + (gain - 1) * 0.3 + (grey - 1)  # mostly brightness, a little colour
    return (moved * gain.to(images.device) + offset.to(images.device)).clamp(0, 1)
