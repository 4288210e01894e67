"""Weights on the wire: in float32, or in float16 for half the bytes.

Under ``float16`` the model of a round is one that float16 holds to the bit, so it loses nothing on
its way to a site. Back comes the *change* of it, rounded to float16: the error is 2**-11 of the
change, where that of a rounded weight would be as large as many a change. Both ends mean the same
bytes: digests and signatures are over what travels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core_model.schema import Arrays, SchemaError

Wire = Literal["float32", "float16"]
Travelling = Mapping[str, NDArray[Any]]
"""Weights in the type of the wire."""


def rounded(arrays: Arrays, wire: Wire) -> Arrays:
    """Return the nearest weights, as float32, that the wire carries without loss.

    Raises:
        ValueError: A weight is beyond 65504, which float16 cannot say.
    """
    if wire == "float32":
        return arrays
    with np.errstate(over="ignore"):
        halves = {name: a.astype(np.float16).astype(np.float32) for name, a in arrays.items()}
    if beyond := [
        n for n, a in halves.items() if np.isinf(a).any() and np.isfinite(arrays[n]).all()
    ]:
        raise ValueError(f"{beyond[0]}: has weights beyond 65504; send them as float32")
    return halves


def sent_as(after: Arrays, before: Arrays, wire: Wire) -> dict[str, NDArray[Any]]:
    """Return what a site sends of its weights.

    Args:
        after: Weights after the round.
        before: Those that came with the request.
        wire: Type of what travels.
    """
    if wire == "float32":
        return dict(after)
    with np.errstate(over="ignore"):  # infinite changes are refused where they arrive
        return {name: (a - before[name]).astype(np.float16) for name, a in after.items()}


def received_as(sent: Travelling, before: Arrays, wire: Wire) -> Arrays:
    """Return the weights that a site means by what it sent.

    Args:
        sent: What came; nothing about it is known.
        before: The weights that the site started from.
        wire: Type that was asked for.

    Raises:
        SchemaError: It is of another type, or not about those weights.
    """
    for name, array in sent.items():
        if array.dtype != wire:
            raise SchemaError(f"{name}: expected {wire}, got {array.dtype}")
        if name not in before or before[name].shape != array.shape:
            raise SchemaError(f"{name}: not asked for in the shape {array.shape}")
    if wire == "float32":
        return dict(sent)
    return {name: before[name] + array.astype(np.float32) for name, array in sent.items()}
