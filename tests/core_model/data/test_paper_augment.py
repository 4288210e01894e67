"""The paper's augmentation beside timm's, operation by operation."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from core_model.data import paper_augment
from core_model.data.paper_augment import _CHANGES, erase, random_crop
from core_model.data.paper_augment import paper_augment as change

LEVEL = 0.9
MOVES = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}


def face(side=48, seed=0):
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    base = np.stack([x, y, (x + y) / 2], axis=-1) * 180 + chance.normal(0, 12, (side, side, 3))
    return np.clip(base + 20, 0, 255).astype(np.uint8)


def tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def timms(name, image, sign):
    """Apply timm's own operation at magnitude 9, its sign fixed."""
    args = auto_augment.LEVEL_TO_ARG[name]
    before = random.random
    random.random = lambda: 1.0 if sign < 0 else 0.0  # timm negates if it is above 0.5
    try:
        arguments = args(10 * LEVEL, {}) if args else ()
    finally:
        random.random = before
    keywords = {"fillcolor": (128, 128, 128)} if name in MOVES else {}
    if name in MOVES:
        keywords["resample"] = Image.BILINEAR
    return np.asarray(auto_augment.NAME_TO_OP[name](Image.fromarray(image), *arguments, **keywords))


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["plus", "minus"])
@pytest.mark.parametrize("name", auto_augment._RAND_INCREASING_TRANSFORMS)
def test_every_operation_of_rand_augment_is_timms(name, sign) -> None:
    image = face()
    got = _CHANGES[name](tensor(image), torch.tensor([LEVEL]), torch.tensor([sign])).clamp(0, 1)
    got = (got[0].permute(1, 2, 0) * 255).round().numpy()
    want = timms(name, image, sign).astype(np.float32)
    if name.startswith("Shear"):  # timm shears about a corner, we about the centre
        rows = slice(22, 26)
        got, want = (got[rows], want[rows]) if name == "ShearX" else (got[:, rows], want[:, rows])
        shift = round(0.3 * LEVEL * 24)
        along = 1 if name == "ShearX" else 0
        got = np.roll(got, -int(sign) * shift, axis=along)
        inner = slice(14, 34)
        got, want = (a[:, inner] if along else a[inner] for a in (got, want))
        assert np.abs(got - want).mean() < 25
        return
    tolerance = 4.0 if name in MOVES else 1.0  # PIL rounds on the way
    assert np.abs(got - want).mean() < tolerance, name


def test_all_operations_are_there() -> None:
    assert list(_CHANGES) == auto_augment._RAND_INCREASING_TRANSFORMS


def test_equal_chance_gives_equal_faces_and_no_face_looks_at_another() -> None:
    images = torch.cat([tensor(face(32, k)) for k in range(8)])
    first, again, other = (change(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    altered = images.clone()
    altered[3] = 0.2
    rest = [0, 1, 2, 4, 5, 6, 7]
    assert torch.equal(change(altered, torch.Generator().manual_seed(1))[rest], first[rest])


def test_crops_take_8_to_100_percent() -> None:
    """Of a ramp from 0 to 1, what a crop spans across is its width."""
    ramp = torch.linspace(0, 1, 64).expand(400, 3, 64, 64)
    got = random_crop(ramp, torch.Generator().manual_seed(0))
    widths = got[:, 0].amax(dim=(1, 2)) - got[:, 0].amin(dim=(1, 2))
    assert widths.min() > 0.2
    assert widths.max() > 0.95
    assert 0.55 < widths.mean() < 0.85  # sqrt of a uniform area in [0.08, 1]


def test_a_quarter_is_erased() -> None:
    images = torch.full((400, 3, 32, 32), 0.5)
    got = erase(images, torch.Generator().manual_seed(0))
    shares = (got != 0.5).any(dim=1).float().mean(dim=(1, 2))
    hit = shares[shares > 0]
    assert 0.18 < len(hit) / 400 < 0.33
    assert hit.max() < 0.4
    assert paper_augment.ERASED == 0.25
