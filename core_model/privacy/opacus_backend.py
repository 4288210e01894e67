"""Opacus as reference: the same clipped sums per frame, by somebody else's code.

Opacus knows no unit but the row, and needs the whole batch in one loss. Our own layers are told to
it here, so that nothing falls back to its slow path of differentiating the whole model anew. It
cannot hold a layer that has weights and layers of its own: beside adapters, these weights freeze.
"""

from __future__ import annotations

from typing import Any, Literal

from opacus.grad_sample import GradSampleModule, register_grad_sampler
from opacus.grad_sample.conv import compute_conv_grad_sample
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
    GradSampleModuleFastGradientClipping,
)
from torch import Tensor, nn

from core_model.nn.encoder import ClassToken, WeightedPool
from core_model.nn.mae import MaskToken
from core_model.privacy.clipping import LossOfFrames, clip_factors

OpacusMode = Literal["hooks", "ghost"]


def _class_token(layer: ClassToken, _: list[Tensor], signal: Tensor) -> dict[nn.Parameter, Tensor]:
    return {layer.token: signal[:, None, :1]}


def _mask_token(
    layer: MaskToken, inputs: list[Tensor], signal: Tensor
) -> dict[nn.Parameter, Tensor]:
    hidden = signal[:, inputs[0].shape[1] :]
    return {layer.token: hidden.sum(dim=1)[:, None, None]}


def _weighted_pool(
    layer: WeightedPool, inputs: list[Tensor], signal: Tensor
) -> dict[nn.Parameter, Tensor]:
    patches = inputs[0]
    return {layer.weight: patches * signal[:, None] / patches.shape[1]}


def _convolution(
    layer: nn.Conv2d, inputs: list[Tensor], signal: Tensor
) -> dict[nn.Parameter, Tensor]:
    # Opacus 1.6 reads activations as if channels came first in memory. Where they come last, as in
    # our convolution stem, its gradients are silently wrong.
    return compute_conv_grad_sample(layer, [inputs[0].contiguous()], signal.contiguous())


for _layer, _sampler in {
    ClassToken: _class_token,
    MaskToken: _mask_token,
    WeightedPool: _weighted_pool,
    nn.Conv2d: _convolution,
}.items():
    register_grad_sampler(_layer)(_sampler)


class OpacusClipper:
    """Clipped sums per frame by Opacus: ``hooks`` makes all gradients, ``ghost`` their lengths.

    Hard clipping only, and only weights that require gradients.
    """

    def __init__(self, model: nn.Module, clip_norm: float, mode: OpacusMode) -> None:
        self._clip_norm = clip_norm
        # Any: Opacus hangs attributes of its own on weights.
        self._weights: dict[str, Any] = {
            n: p for n, p in model.named_parameters() if p.requires_grad
        }
        self._hooks: GradSampleModule | None = None
        self._ghost: GradSampleModuleFastGradientClipping | None = None
        # The loss is a sum over frames. Buffers: ours are fixed tables of positions.
        if mode == "hooks":
            self._hooks = GradSampleModule(model, loss_reduction="sum", strict=False)
        else:
            self._ghost = GradSampleModuleFastGradientClipping(
                model, loss_reduction="sum", strict=False, max_grad_norm=clip_norm
            )

    def clipped_sums(self, loss_of_frames: LossOfFrames, frames: Tensor) -> dict[str, Tensor]:
        """Return the sum over frames of the clipped gradients. Shape of ``frames``: (N,)."""
        losses = loss_of_frames(frames)
        if self._ghost is None:
            return self._sum_gradients(losses)
        losses.sum().backward(retain_graph=True)
        for weight in self._weights.values():
            weight.grad = None
        norms = self._ghost.get_norm_sample()
        self._ghost.disable_hooks()
        (clip_factors(norms, self._clip_norm, "hard") * losses).sum().backward()
        self._ghost.enable_hooks()
        return self._collect()

    def release(self) -> None:
        """Take the hooks off the model."""
        for held in (self._hooks, self._ghost):
            if held is not None:
                held.remove_hooks()

    def _sum_gradients(self, losses: Tensor) -> dict[str, Tensor]:
        losses.sum().backward()
        made = {n: w.grad_sample.flatten(1) for n, w in self._weights.items()}
        norms = sum(g.square().sum(dim=1) for g in made.values()).sqrt()
        factors = clip_factors(norms, self._clip_norm, "hard")
        sums = {n: (factors @ made[n]).view(w.shape) for n, w in self._weights.items()}
        for weight in self._weights.values():
            weight.grad = weight.grad_sample = None
        return sums

    def _collect(self) -> dict[str, Tensor]:
        sums = {}
        for name, weight in self._weights.items():
            assert weight.grad is not None
            sums[name], weight.grad = weight.grad, None
        return sums
