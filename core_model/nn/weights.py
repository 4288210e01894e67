"""A model's weights as plain arrays, and their roles."""

from __future__ import annotations

import torch
from torch import nn

from core_model.schema import Arrays, ParameterSchema, ParameterSpec, Role

_ROLES = {
    "encoder": Role.ENCODER,
    "au_head": Role.AU_HEAD,
    "identity_head": Role.IDENTITY_HEAD,
    "decoder": Role.MAE_DECODER,
}


def _role(name: str) -> Role:
    if ".lora." in name:
        return Role.ADAPTER
    return Role.BOTTLENECK if ".bottleneck." in name else _ROLES[name.split(".", 1)[0]]


def schema_of(model: nn.Module) -> ParameterSchema:
    """List the weights of a model with their roles, told by the submodule that holds them.

    Raises:
        KeyError: A weight belongs to no known submodule; it must be given a role here first.
    """
    return ParameterSchema(
        parameters=tuple(
            ParameterSpec(name=name, shape=tuple(p.shape), role=_role(name))
            for name, p in model.named_parameters()
        )
    )


def get_arrays(model: nn.Module, schema: ParameterSchema) -> Arrays:
    """Copy the weights that ``schema`` lists out of the model."""
    weights = dict(model.named_parameters())
    return {p.name: weights[p.name].detach().cpu().numpy().copy() for p in schema.parameters}


def set_arrays(model: nn.Module, arrays: Arrays) -> None:
    """Copy ``arrays`` into the weights of the same names; the others stay.

    Raises:
        KeyError: The model has no such weight.
    """
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, array in arrays.items():
            weights[name].copy_(torch.from_numpy(array))
