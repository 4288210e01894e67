"""Which weights a model has, what each is for, and which may leave a site.

This is the one place that decides. The site withholds by it and the server refuses by it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core_model.config import Purpose

Arrays = dict[str, NDArray[np.float32]]
"""Weights by name."""


class Role(enum.StrEnum):
    """What a weight is for."""

    ENCODER = "encoder"
    ADAPTER = "adapter"  # low-rank, beside a layer of the encoder
    AU_HEAD = "au_head"  # first axis: one row for each AU
    IDENTITY_HEAD = "identity_head"  # one row for each person of a site: a template of the face
    MAE_DECODER = "mae_decoder"  # can draw faces
    BOTTLENECK = "bottleneck"  # learned at one site without labels; stays there


ADAPTED = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""Layers of an encoder's block that adapters stand beside."""

_SHARED: dict[Purpose, frozenset[Role]] = {
    "pretraining": frozenset({Role.ENCODER, Role.ADAPTER}),
    "finetuning": frozenset({Role.ENCODER, Role.ADAPTER, Role.AU_HEAD}),
}


class ParameterSpec(BaseModel):
    """Name, shape and role of one weight. All weights are float32."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shape: tuple[int, ...]
    role: Role


class SchemaError(ValueError):
    """Arrays do not hold exactly the weights that a schema lists."""


class ParameterSchema(BaseModel):
    """The ordered list of a model's weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    parameters: tuple[ParameterSpec, ...]

    def shared(self, purpose: Purpose, *, with_decoder: bool = False) -> ParameterSchema:
        """Return only the weights that may leave a site for ``purpose``.

        ``with_decoder`` adds the MAE decoder, for the experiment that measures what that brings.
        An identity head is never in the answer.
        """
        roles = _SHARED[purpose] | ({Role.MAE_DECODER} if with_decoder else set())
        return ParameterSchema(parameters=tuple(p for p in self.parameters if p.role in roles))

    def without_identity_heads(self) -> ParameterSchema:
        """Return all weights that may be written at a site; an identity head is never."""
        kept = (p for p in self.parameters if p.role is not Role.IDENTITY_HEAD)
        return ParameterSchema(parameters=tuple(kept))

    def role_of(self, name: str) -> Role:
        """Return the role of a weight.

        Raises:
            KeyError: No weight has this name.
        """
        return {p.name: p.role for p in self.parameters}[name]

    def num_bytes(self) -> int:
        """Size of all weights as float32."""
        return sum(4 * int(np.prod(p.shape)) for p in self.parameters)

    def check(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Check that ``arrays`` holds exactly these weights: names, shapes, types, finite values.

        Raises:
            SchemaError: Anything is missing, extra, of another shape or type, or not finite.
        """
        want = {p.name: p.shape for p in self.parameters}
        if want.keys() != arrays.keys():
            missing, extra = (
                sorted(want.keys() - arrays.keys()),
                sorted(arrays.keys() - want.keys()),
            )
            raise SchemaError(f"weights differ: missing {missing[:3]}, not asked for {extra[:3]}")
        for name, array in arrays.items():
            if array.shape != want[name]:
                raise SchemaError(f"{name}: expected shape {want[name]}, got {array.shape}")
            if array.dtype != np.float32:
                raise SchemaError(f"{name}: expected float32, got {array.dtype}")
            if not _is_finite(array):
                raise SchemaError(f"{name}: has values that are not finite")


def _is_finite(array: NDArray[np.float32]) -> bool:
    """Tell whether all values are finite. A sum of squares tells so in one pass without a copy.

    Only a sum that is not finite needs a closer look: large values can have one too.
    """
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return True
    return bool(np.isfinite(array).all())
