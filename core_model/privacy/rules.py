"""How long the gradient of a unit is, layer by layer, without making it first.

A layer's gradient is a product of what went in and of the signal that came back. A rule gives, for
each weight of a layer, the squared length of every unit's gradient and a way to add the gradients
up, each times a factor that is known only later: book-keeping (Bu et al., PMLR 202:3192). All rules
are exact.

Shapes: N = rows (frames), U = units of N / U rows each, T = tokens or places of a unit,
I, O = inputs and outputs of a layer, D = features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_model.nn.adapters import AdaptedLinear
from core_model.nn.encoder import ClassToken, WeightedPool
from core_model.nn.mae import MaskToken


@dataclass(frozen=True)
class Term:
    """What is kept of one weight: squared lengths, and the sum of gradients times factors.

    Shapes: ``squares`` (U,); the sum, of factors (U,), is that of the weight, flat or not.
    """

    squares: Tensor
    weighted_sum: Callable[[Tensor], Tensor]


Rule = Callable[[tuple[Tensor, ...], Tensor, int], "Terms"]
"""From the inputs of a layer, the signal at its output and U, to a term for each of its weights."""

Terms = dict[str, Callable[[], Term]]
"""By the name of the weight. Only those of weights that train are called, once and at once."""


def per_unit(rows: Tensor, num_units: int) -> Term:
    """Return the term of gradients that are made row by row. Shape: (N, ...)."""
    gradients = rows.reshape(num_units, -1, *rows.shape[1:]).sum(dim=1)  # (U, ...)
    return made(gradients)


def made(gradients: Tensor) -> Term:
    """Return the term of gradients at hand. Shape: (U, ...)."""
    flat = gradients.flatten(1)
    return Term(
        squares=flat.square().sum(dim=1),
        weighted_sum=lambda factors: (_finite(factors, flat)[0]).T.mv(factors),
    )


def product(inputs: Tensor, signals: Tensor) -> Term:
    """Return the term of a weight matrix. Shapes: (U, T, I), (U, T, O); the sum is (O, I).

    A unit with many tokens is shorter as a gradient, O times I, than as what it is made of: then
    the gradient is made once, and adding it up later costs next to nothing. Else the length comes
    from the two Gram matrices, (U, T, T), which are smaller than half a gradient.
    """
    num_tokens, size = inputs.shape[1], inputs.shape[2] * signals.shape[2]
    if size <= num_tokens * (inputs.shape[2] + signals.shape[2]):
        return made(signals.mT @ inputs)
    squares = ((inputs @ inputs.mT) * (signals @ signals.mT)).sum(dim=(1, 2)).clamp(min=0)

    def weighted_sum(factors: Tensor) -> Tensor:
        clean_signals, clean_inputs = _finite(factors, signals, inputs)
        weighted = clean_signals * factors[:, None, None]
        return weighted.flatten(0, 1).T @ clean_inputs.flatten(0, 1)

    return Term(squares, weighted_sum)


def _finite(factors: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    """Return ``kept`` with zeros for the units left out: zero times infinity is not zero."""
    if bool((factors > 0).all()):
        return kept
    out = (factors > 0).view(-1, *(1 for _ in kept[0].shape[1:]))
    return tuple(torch.where(out, values, 0.0) for values in kept)


def _full(values: Tensor) -> Tensor:
    """Lengths and sums are never made in half precision."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _tokens(rows: Tensor, num_units: int) -> Tensor:
    """Put the tokens of a unit's rows beside each other. Shape: (N, ..., D) -> (U, T, D)."""
    return _full(rows).reshape(num_units, -1, rows.shape[-1])


def rule_for(layer: nn.Module) -> Rule:
    """Return the rule of a layer.

    Raises:
        TypeError: There is none. By exact type: a subclass may compute something else.
    """
    make = _RULES.get(type(layer))
    if make is None:
        known = ", ".join(sorted(t.__name__ for t in _RULES))
        raise TypeError(f"no exact rule for {type(layer).__name__}; there are rules for {known}")
    return make(layer)


def _linear(_: nn.Linear) -> Rule:
    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        g = _tokens(signal, num_units)  # (U, T, O)
        return {
            "weight": lambda: product(_tokens(inputs[0], num_units), g),
            "bias": lambda: made(g.sum(dim=1)),
        }

    return rule


def _convolution(layer: nn.Conv2d) -> Rule:
    padding = layer.padding
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(padding, str):
        raise TypeError(f"expected a plain convolution with padding in pixels, got {layer}")

    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        g = _tokens(signal.flatten(2).mT, num_units)  # (U, T, O)

        def weight() -> Term:
            windows = F.unfold(
                _full(inputs[0]), layer.kernel_size, layer.dilation, padding, layer.stride
            )  # (N, I, places)
            return product(_tokens(windows.mT, num_units), g)

        return {"weight": weight, "bias": lambda: made(g.sum(dim=1))}

    return rule


def _layer_norm(layer: nn.LayerNorm) -> Rule:
    if len(layer.normalized_shape) != 1:
        raise TypeError(f"expected a norm over the last dimension alone, got {layer}")

    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        g = _tokens(signal, num_units)  # (U, T, D)

        def weight() -> Term:
            normal = F.layer_norm(_full(inputs[0]), layer.normalized_shape, eps=layer.eps)
            return made((normal.view_as(g) * g).sum(dim=1))

        return {"weight": weight, "bias": lambda: made(g.sum(dim=1))}

    return rule


def _group_norm(layer: nn.GroupNorm) -> Rule:
    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        g = _full(signal).flatten(2)  # (N, D, places)

        def weight() -> Term:
            normal = F.group_norm(_full(inputs[0]), layer.num_groups, eps=layer.eps).flatten(2)
            return per_unit((normal * g).sum(dim=2), num_units)

        return {"weight": weight, "bias": lambda: per_unit(g.sum(dim=2), num_units)}

    return rule


def _class_token(_: ClassToken) -> Rule:
    return lambda _, g, num_units: {"token": lambda: per_unit(_full(g[:, 0]), num_units)}


def _mask_token(_: MaskToken) -> Rule:
    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        hidden = _full(signal)[:, inputs[0].shape[1] :]  # appended behind the kept ones
        return {"token": lambda: per_unit(hidden.sum(dim=1), num_units)}

    return rule


def _weighted_pool(_: WeightedPool) -> Rule:
    def rule(inputs: tuple[Tensor, ...], signal: Tensor, num_units: int) -> Terms:
        patches, g = _full(inputs[0]), _full(signal)[:, None]  # (N, L, D), (N, 1, D)
        return {"weight": lambda: per_unit(patches * g / patches.shape[1], num_units)}

    return rule


_RULES: dict[type[nn.Module], Callable[..., Rule]] = {
    nn.Linear: _linear,
    AdaptedLinear: _linear,  # of its own weights; those of the adapter are layers by themselves
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    ClassToken: _class_token,
    MaskToken: _mask_token,
    WeightedPool: _weighted_pool,
}
