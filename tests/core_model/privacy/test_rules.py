"""Every rule against one backward pass for each unit, on shapes that hypothesis draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core_model.nn.encoder import ClassToken, StoredPositions, WeightedPool
from core_model.nn.mae import MaskToken
from core_model.privacy.rules import rule_for

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
small = st.integers(1, 7)


@st.composite
def linear(draw):
    layer = nn.Linear(draw(st.integers(1, 40)), draw(st.integers(1, 40)), bias=draw(st.booleans()))
    tokens = draw(st.sampled_from([(), (1,), (3,), (30,), (3, 4)]))
    return layer, (*tokens, layer.in_features)


@st.composite
def convolution(draw):
    kernel, padding = draw(st.integers(1, 4)), draw(st.integers(0, 2))
    layer = nn.Conv2d(
        draw(small), draw(small), kernel, draw(st.integers(1, 4)), padding,
        dilation=draw(st.integers(1, 2)), bias=draw(st.booleans()),
    )  # fmt: skip
    side = draw(st.integers(8, 12))
    return layer, (layer.in_channels, side, side + draw(st.integers(0, 2)))


@st.composite
def layer_norm(draw):
    width = draw(st.integers(2, 30))
    tokens = draw(st.sampled_from([(), (1,), (9,), (2, 3)]))
    return nn.LayerNorm(width, bias=draw(st.booleans())), (*tokens, width)


@st.composite
def group_norm(draw):
    groups, each = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return nn.GroupNorm(groups, groups * each), (groups * each, draw(st.integers(2, 5)), 3)


@st.composite
def class_token(draw):
    width = draw(small)
    return ClassToken(width), (draw(small), width)


@st.composite
def mask_token(draw):
    width, kept = draw(small), draw(small)
    layer = MaskToken(width)
    total = kept + draw(small)
    plain = layer.forward
    layer.forward = lambda x: plain(x, num_patches=total)
    return layer, (kept, width)


@st.composite
def weighted_pool(draw):
    patches, width = draw(small), draw(small)
    return WeightedPool(patches, width), (patches, width)


LAYERS = {
    "linear": linear(),
    "convolution": convolution(),
    "layer norm": layer_norm(),
    "group norm": group_norm(),
    "class token": class_token(),
    "mask token": mask_token(),
    "weighted pool": weighted_pool(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
@settings(max_examples=25, deadline=None)
@given(data=st.data(), num_units=st.integers(1, 4), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_rule_is_exact(layers, dtype, data, num_units, rows, seed) -> None:
    layer, shape = data.draw(layers)
    torch.manual_seed(seed)
    layer.to(dtype)
    for weight in layer.parameters():
        nn.init.normal_(weight)
    inputs = torch.randn(num_units * rows, *shape, dtype=dtype)
    output = layer(inputs)
    signal = torch.randn_like(output)
    terms = {n: rule_for(layer)((inputs,), signal, num_units)[n]() for n in names(layer)}
    factors = torch.rand(num_units, dtype=dtype)
    truth = one_by_one(layer.double(), inputs.double(), signal.double(), num_units)
    # What cancels to nearly nothing has no relative error.
    floor = max(1e-6, 0.1 * float(signal.norm()))
    for name, term in terms.items():
        lengths = truth[name].flatten(1).norm(dim=1)
        ours = term.squares.sqrt().double()
        scale = lengths.max().clamp(min=floor)
        assert float(((ours - lengths).abs() / scale).max()) < TOLERANCE[dtype], name
        summed = (factors.double()[:, None] * truth[name].flatten(1)).sum(dim=0)
        distance = (term.weighted_sum(factors).flatten().double() - summed).norm()
        assert float(distance / summed.norm().clamp(min=floor)) < TOLERANCE[dtype], name


def names(layer):
    return [name for name, _ in layer.named_parameters()]


def one_by_one(layer, inputs, signal, num_units):
    """Return the gradient of each unit. Shapes: (U, ...) by weight."""
    made = {name: [] for name in names(layer)}
    for x, g in zip(inputs.chunk(num_units), signal.chunk(num_units), strict=True):
        found = torch.autograd.grad((layer(x) * g).sum(), list(layer.parameters()))
        for name, gradient in zip(made, found, strict=True):
            made[name].append(gradient)
    return {name: torch.stack(rows) for name, rows in made.items()}


class Subclass(nn.Linear):
    """May compute anything."""


@pytest.mark.parametrize(
    "layer",
    [
        Subclass(2, 2),
        nn.Bilinear(2, 2, 2),
        StoredPositions(2, 4),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.LayerNorm((2, 3)),
    ],
    ids=str,
)
def test_no_rule_is_better_than_a_wrong_one(layer) -> None:
    with pytest.raises(TypeError, match=r"no exact rule|expected"):
        rule_for(layer)
