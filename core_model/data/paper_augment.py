"""The random changes that FMAE fine-tunes with: timm's ``rand-m9-mstd0.5-inc1`` and its company.

Crop 8 to 100 % of the face (bicubic), mirror half, two operations of RandAugment (each with
probability 0.5, magnitude drawn from N(9, 0.5)), erase a patch in a quarter of the images. All
images of a batch are changed together where they are, so a GPU does it; every draw comes from
``chance``. As there, images are bytes between operations. A face is sheared about its centre, not
its corner, and what is erased may lie outside [0, 1].

Shapes: N = batch, S = image side in pixels. Images are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from core_model.data.augment import MEAN, STD, flip

OPERATIONS = 2  # of RandAugment, one after another
CHANCE_OF_ONE = 0.5  # that an operation is done at all
MAGNITUDE, MAGNITUDE_SPREAD, MOST = 9.0, 0.5, 10.0
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as PIL has it
FILL = 0.5  # around a turned face, nearly timm's mean colour
ERASED = 0.25  # of the images


def paper_augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Change faces as FMAE does. Shape: (N, 3, S, S), kept."""
    changed = flip(random_crop(images, chance), chance)
    for _ in range(OPERATIONS):
        changed = rand_augment(changed, chance)
    return erase(changed, chance)


def random_crop(images: Tensor, chance: torch.Generator) -> Tensor:
    """Cut 8 to 100 % of the area at an aspect of 3/4 to 4/3 and enlarge it. Shape: kept."""
    n = len(images)
    area = 0.08 + 0.92 * torch.rand(n, generator=chance)
    aspect = torch.exp((2 * torch.rand(n, generator=chance) - 1) * math.log(4 / 3))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    # Half widths, and centres such that the cut stays inside. In [-1, 1].
    x = (1 - width) * (2 * torch.rand(n, generator=chance) - 1)
    y = (1 - height) * (2 * torch.rand(n, generator=chance) - 1)
    zero = torch.zeros(n)
    matrix = torch.stack([width, zero, x, zero, height, y], dim=1).view(n, 2, 3)
    return _warped(images, matrix, mode="bicubic", padding="border").clamp(0, 1)


def rand_augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Do one operation, drawn anew for each image. Shape: kept."""
    n = len(images)
    chosen = torch.randint(len(_CHANGES), (n,), generator=chance)
    is_done = torch.rand(n, generator=chance) < CHANCE_OF_ONE
    level = MAGNITUDE + MAGNITUDE_SPREAD * torch.randn(n, generator=chance)
    level = level.clamp(0, MOST) / MOST
    sign = torch.where(torch.rand(n, generator=chance) < 0.5, -1.0, 1.0)
    result = images.clone()
    for number, change in enumerate(_CHANGES.values()):
        rows = torch.nonzero(is_done & (chosen == number)).flatten()
        if len(rows):
            there = rows.to(images.device)
            done = change(images[there], level[rows].to(images), sign[rows].to(images))
            result[there] = (done.clamp(0, 1) * 255).round() / 255
    return result


def erase(images: Tensor, chance: torch.Generator) -> Tensor:
    """Fill a rectangle of 2 to 33 % with noise in a quarter of the images. Shape: kept.

    timm's noise is N(0, 1) of standardised pixels; here it is brought back to [0, 1] beforehand.
    """
    n, side = len(images), images.shape[-1]
    is_done = torch.rand(n, generator=chance) < ERASED
    area = (0.02 + (1 / 3 - 0.02) * torch.rand(n, generator=chance)) * side**2
    aspect = torch.exp((2 * torch.rand(n, generator=chance) - 1) * math.log(1 / 0.3))
    height = (area * aspect).sqrt().round().clamp(1, side)
    width = (area / aspect).sqrt().round().clamp(1, side)
    top = ((side - height + 1) * torch.rand(n, generator=chance)).floor()
    left = ((side - width + 1) * torch.rand(n, generator=chance)).floor()
    rows, columns = torch.arange(side).view(1, side, 1), torch.arange(side).view(1, 1, side)
    top, height, left, width = (v.view(n, 1, 1) for v in (top, height, left, width))
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    inside = (inside & is_done.view(n, 1, 1)).unsqueeze(1).to(images.device)  # (N, 1, S, S)
    source = torch.Generator(images.device).manual_seed(
        int(torch.randint(2**62, (1,), generator=chance))
    )
    noise = torch.randn(images.shape, generator=source, device=images.device)
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return torch.where(inside, noise * std + mean, images)


# --- operations: images (n, 3, S, S), levels and signs (n,) --------------------------------------


def _blend(base: Tensor, images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    """Move away from ``base`` or towards it, as PIL's ImageEnhance does."""
    factor = (1 + 0.9 * level * sign).clamp(min=0.1).view(-1, 1, 1, 1)
    return base + (images - base) * factor


def grey(images: Tensor) -> Tensor:
    """Return the lightness. Shape: (n, 3, S, S) -> (n, 1, S, S)."""
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _sharpness(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    smooth = F.conv2d(images, kernel.expand(3, 1, 3, 3), groups=3, padding=1)
    inner = torch.zeros_like(images[:1, :1], dtype=torch.bool)
    inner[..., 1:-1, 1:-1] = True
    return _blend(torch.where(inner, smooth, images), images, level, sign)


def _auto_contrast(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:  # noqa: ARG001
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def equalise(images: Tensor) -> Tensor:
    """Spread each colour's histogram evenly, as PIL does. Shape: kept."""
    n, side = len(images), images.shape[-1]
    values = (images * 255).round().long().view(n * 3, side * side)
    counts = torch.zeros(n * 3, 256, device=images.device).scatter_add_(
        1, values, torch.ones_like(values, dtype=torch.float32)
    )
    last = counts.gather(1, values.amax(dim=1, keepdim=True))  # of the brightest value there is
    step = ((side * side - last) / 255).floor()  # (n * 3, 1)
    before = counts.cumsum(dim=1) - counts
    table = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(0, 255)
    table = torch.where(step > 0, table, torch.arange(256.0, device=images.device))
    return (table.gather(1, values) / 255).view_as(images)


def _posterize(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:  # noqa: ARG001
    size = 2.0 ** (4 + (level * 4).floor()).view(-1, 1, 1, 1)  # of a step: 4 - level * 4 bits left
    return ((images * 255).round() / size).floor() * size / 255


def _solarize(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:  # noqa: ARG001
    threshold = (256 - (level * 256).floor()).view(-1, 1, 1, 1) / 255
    return torch.where(images < threshold, images, 1 - images)


def _solarize_add(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:  # noqa: ARG001
    added = (level * 110).floor().view(-1, 1, 1, 1) / 255
    return torch.where(images < 128 / 255, (images + added).clamp(max=1), images)


def _rotate(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    angle = level * sign * math.radians(30)
    rows = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()]
    return _moved(images, *rows)


def _shear_x(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    one, zero = torch.ones_like(level), torch.zeros_like(level)
    return _moved(images, one, 0.3 * level * sign, zero, one)


def _shear_y(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    one, zero = torch.ones_like(level), torch.zeros_like(level)
    return _moved(images, one, zero, 0.3 * level * sign, one)


def _translate(axis: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def move(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        one, zero = torch.ones_like(level), torch.zeros_like(level)
        shift = 2 * 0.45 * level * sign  # of a side that is 2 long
        x, y = (shift, zero) if axis == 0 else (zero, shift)
        return _moved(images, one, zero, zero, one, x, y)

    return move


def _moved(
    images: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor,
    x: Tensor | None = None, y: Tensor | None = None,
) -> Tensor:  # fmt: skip
    zero = torch.zeros_like(a)
    matrix = torch.stack([a, b, zero if x is None else x, c, d, zero if y is None else y], dim=1)
    warped = _warped(images - FILL, matrix.view(-1, 2, 3), mode="bilinear", padding="zeros")
    return warped + FILL


def _warped(images: Tensor, matrix: Tensor, *, mode: str, padding: str) -> Tensor:
    grid = F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


_CHANGES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": lambda images, level, sign: equalise(images),  # noqa: ARG005
    "Invert": lambda images, level, sign: 1 - images,  # noqa: ARG005
    "Rotate": _rotate,
    "PosterizeIncreasing": _posterize,
    "SolarizeIncreasing": _solarize,
    "SolarizeAdd": _solarize_add,
    "ColorIncreasing": lambda images, level, sign: _blend(grey(images), images, level, sign),
    "ContrastIncreasing": lambda images, level, sign: _blend(
        grey(images).mean(dim=(2, 3), keepdim=True), images, level, sign
    ),
    "BrightnessIncreasing": lambda images, level, sign: _blend(
        torch.zeros_like(images), images, level, sign
    ),
    "SharpnessIncreasing": _sharpness,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _translate(0),
    "TranslateYRel": _translate(1),
}
