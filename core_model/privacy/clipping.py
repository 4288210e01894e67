"""Clip the gradient of every unit in one backward pass.

While a clipper holds a model, none of its weights has a gradient of torch's own: an unclipped
gradient does not exist. Each layer that trains notes what went in and what signal came back; from
these come the length of every unit's gradient and the sum of the clipped ones.

Shapes: U = units, R = rows (frames) of a unit, N = U * R.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from core_model.privacy.plan import Clipping
from core_model.privacy.rules import Rule, Term, rule_for

LossOfFrames = Callable[[Tensor], Tensor]
"""From indices of frames to the loss of each of them, alone. Shapes: (N,) -> (N,)."""

AUTOMATIC_OFFSET = 0.01  # AUTO-S's gamma (Bu et al., arXiv 2206.07136)


@dataclass(frozen=True)
class ClipGroup:
    """Weights whose gradients are clipped together, to one length."""

    names: tuple[str, ...]
    clip_norm: float


def clip_factors(norms: Tensor, clip_norm: float, clipping: Clipping) -> Tensor:
    """Return what each unit's gradient is multiplied by: none is longer than ``clip_norm`` after.

    A unit whose length is not a finite number counts as zero: whether a step succeeds must not
    depend on anybody's data. Shape: (U,), kept.
    """
    if clipping == "automatic":
        factors = clip_norm / (norms + AUTOMATIC_OFFSET)
    else:
        factors = (clip_norm / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1.0)
    return torch.where(norms.isfinite(), factors, 0.0)


class UnitClipper:
    """Sums of clipped gradients of a model, for weights that train in groups.

    Raises:
        ValueError: A weight is unknown, named twice, or tied to another one.
        TypeError: A weight lies in a layer without an exact rule, or a layer mixes examples.
    """

    def __init__(
        self, model: nn.Module, groups: Sequence[ClipGroup], clipping: Clipping = "automatic"
    ) -> None:
        self._groups, self._clipping = tuple(groups), clipping
        self._weights = _check_weights(model, groups)
        group_of = {name: i for i, group in enumerate(groups) for name in group.names}
        self._layers = _layers_of(model, self._weights, group_of)
        self._token = torch.zeros((), requires_grad=True)
        self._notes: dict[str, Term] = {}
        self._squares: list[Tensor | None] = []
        self._seen: set[str] = set()
        self._num_units = 0  # 0: not inside clipped_sums
        self._were_trained = [(p, p.requires_grad) for p in model.parameters()]
        model.requires_grad_(False)
        self._hooks = [
            layer.module.register_forward_hook(self._hook(layer)) for layer in self._layers
        ]

    def release(self) -> None:
        """Let go of the model: its weights have ordinary gradients again."""
        for hook in self._hooks:
            hook.remove()
        for weight, was_trained in self._were_trained:
            weight.requires_grad_(was_trained)
        self._hooks, self._were_trained = [], []

    def clipped_sums(self, loss_of_frames: LossOfFrames, frames: Tensor) -> Mapping[str, Tensor]:
        """Return, by weight, the sum over units of the clipped gradient of the unit's mean loss.

        A weight that the loss did not use is not in the answer. Shape of ``frames``: (U, R).

        Raises:
            ValueError: The loss is not one number for each frame, or a layer ran twice.
        """
        self._num_units, self._seen = len(frames), set()
        self._notes, self._squares = {}, [None] * len(self._groups)
        try:
            with torch.enable_grad():
                losses = loss_of_frames(frames.flatten())
                if losses.shape != (frames.numel(),):
                    raise ValueError(
                        f"expected a loss for each of {frames.numel()} frames, got the shape "
                        f"{tuple(losses.shape)}; do not average inside the loss"
                    )
                if losses.requires_grad:
                    (losses.sum() / frames.shape[1]).backward()
            return self._sums()
        finally:
            self._num_units, self._notes, self._squares = 0, {}, []

    def _hook(self, layer: _Layer) -> Callable[..., Tensor | None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._num_units or not torch.is_grad_enabled():
                return None
            if layer.name in self._seen:
                raise ValueError(f"{layer.name} ran twice in one loss: its gradient is not known")
            self._seen.add(layer.name)
            # Biases need the signal alone; without its input a layer costs no memory.
            kept = () if layer.weights.keys() == {"bias"} else _detached(inputs)
            return _Tap.apply(output, self._token, lambda g: self._take(layer, kept, g))

        return note

    def _take(self, layer: _Layer, inputs: tuple[Any, ...], signal: Tensor) -> None:
        terms = layer.rule(inputs, signal, self._num_units)
        for short, name in layer.weights.items():
            term = terms[short]()
            self._notes[name] = term
            before = self._squares[layer.groups[short]]
            self._squares[layer.groups[short]] = (
                term.squares if before is None else before + term.squares
            )

    def _sums(self) -> dict[str, Tensor]:
        norms = [None if s is None else s.sqrt() for s in self._squares]
        factors = [
            None if n is None else clip_factors(n, group.clip_norm, self._clipping)
            for n, group in zip(norms, self._groups, strict=True)
        ]
        # Left out of one group is left out of all.
        left_out = [~n.isfinite() for n in norms if n is not None]
        if left_out:
            anywhere = torch.stack(left_out).any(dim=0)
            factors = [None if f is None else f.masked_fill(anywhere, 0.0) for f in factors]
        sums = {}
        for group, factor in zip(self._groups, factors, strict=True):
            for name in group.names:
                if name in self._notes and factor is not None:
                    summed = self._notes.pop(name).weighted_sum(factor)
                    sums[name] = summed.view(self._weights[name].shape)
        return sums


@dataclass(frozen=True)
class _Layer:
    name: str
    module: nn.Module
    rule: Rule
    weights: Mapping[str, str]  # short name -> full name, of those that train
    groups: Mapping[str, int]  # short name -> group


class _Tap(torch.autograd.Function):
    """Hand on the output, and show the signal that comes back to ``take``."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output, _, ctx.take = inputs  # the token makes torch want a signal
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        take, ctx.take = ctx.take, None  # else inputs of all layers stay until the last is done
        take(signals[0].detach())
        return signals[0], None, None


def _detached(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(i.detach() if isinstance(i, Tensor) else i for i in inputs)


def _check_weights(model: nn.Module, groups: Sequence[ClipGroup]) -> dict[str, nn.Parameter]:
    """Return the weights that train, by name."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise TypeError(f"{name}: batch norm mixes people; use layer or group norm")
    all_weights = dict(model.named_parameters(remove_duplicate=False))
    names = [name for group in groups for name in group.names]
    if unknown := sorted(set(names) - all_weights.keys()):
        raise ValueError(f"the model has no weights {unknown[:3]}")
    if len(set(names)) < len(names):
        raise ValueError(f"weights named twice: {sorted({n for n in names if names.count(n) > 1})}")
    weights = {name: all_weights[name] for name in names}
    for name, weight in weights.items():
        twins = [n for n, w in all_weights.items() if w is weight and n != name]
        if twins:
            raise ValueError(f"{name} is tied to {twins[0]}: lengths of both are not additive")
    return weights


def _layers_of(
    model: nn.Module, weights: Mapping[str, nn.Parameter], group_of: Mapping[str, int]
) -> list[_Layer]:
    """Return the layers that train, each with its rule."""
    layers = []
    for name, module in model.named_modules():
        own = {
            short: f"{name}.{short}" if name else short
            for short, _ in module.named_parameters(recurse=False)
        }
        trained = {short: full for short, full in own.items() if full in weights}
        if not trained:
            continue
        try:
            rule = rule_for(module)
        except TypeError as e:
            raise TypeError(f"{next(iter(trained.values()))} cannot be clipped: {e}") from e
        if odd := trained.keys() - {"weight", "bias", "token"}:
            raise TypeError(f"{trained[min(odd)]} cannot be clipped: not a weight of its layer")
        groups = {short: group_of[full] for short, full in trained.items()}
        layers.append(_Layer(name, module, rule, trained, groups))
    return layers
