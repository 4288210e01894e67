"""Low-rank adapters into a checkpoint, or melted into its layers (docs/adr/0020). No torch.

Shapes: R = rank, I, O = inputs and outputs of a layer.
"""

from __future__ import annotations

import re

import numpy as np

from core_model.checkpoint import CheckpointError, CheckpointManifest
from core_model.protocol.messages import digest
from core_model.schema import ADAPTED, Arrays, ParameterSchema, ParameterSpec, Role

_BIAS = re.compile(r"(encoder\.blocks\.\d+\.(?:" + "|".join(map(re.escape, ADAPTED)) + r"))\.bias")


def with_adapters(
    arrays: Arrays, manifest: CheckpointManifest, rank: int, alpha: float, seed: int
) -> tuple[Arrays, CheckpointManifest]:
    """Return a checkpoint with fresh adapters, which computes exactly what it did before.

    A is drawn evenly, as wide as Xavier says; B is zero (Hu et al., arXiv 2106.09685, section 4.1).

    Raises:
        CheckpointError: It has adapters already, or no blocks to put them into.
        ValueError: ``rank`` or ``alpha`` cannot be. Pydantic's.
    """
    if manifest.encoder.lora_rank:
        raise CheckpointError("it has adapters already; omote-model merge melts them in")
    chance = np.random.default_rng(seed)
    fresh: Arrays = {}
    specs: list[ParameterSpec] = []
    for spec in manifest.weights.parameters:
        specs.append(spec)
        if found := _BIAS.fullmatch(spec.name):
            outputs, inputs = arrays[f"{found[1]}.weight"].shape
            bound = np.sqrt(6 / (inputs + rank))
            down = chance.uniform(-bound, bound, (rank, inputs)).astype(np.float32)
            up = np.zeros((outputs, rank), np.float32)
            own: Arrays = {f"{found[1]}.lora.down.weight": down, f"{found[1]}.lora.up.weight": up}
            fresh |= own
            specs += [
                ParameterSpec(name=n, shape=a.shape, role=Role.ADAPTER) for n, a in own.items()
            ]
    if not fresh:
        raise CheckpointError("it has no blocks to put adapters into")
    changes = {"lora_rank": rank, "lora_alpha": alpha}
    return _changed(arrays | fresh, manifest, specs, changes)


def merged(arrays: Arrays, manifest: CheckpointManifest) -> tuple[Arrays, CheckpointManifest]:
    """Return a checkpoint without adapters that computes the same up to rounding.

    Raises:
        CheckpointError: It has no adapters.
    """
    encoder = manifest.encoder
    if not encoder.lora_rank:
        raise CheckpointError("it has no adapters to melt in")
    scale = encoder.lora_alpha / encoder.lora_rank
    found: Arrays = {}
    for spec in manifest.weights.parameters:
        layer = spec.name.removesuffix(".weight")
        up = arrays.get(f"{layer}.lora.up.weight")
        if spec.role is Role.ADAPTER:
            continue
        found[spec.name] = arrays[spec.name]
        if up is not None:
            down = arrays[f"{layer}.lora.down.weight"]
            product = scale * (up.astype(np.float64) @ down)  # (O, I)
            found[spec.name] = (arrays[spec.name] + product).astype(np.float32)
    specs = [p for p in manifest.weights.parameters if p.role is not Role.ADAPTER]
    return _changed(found, manifest, specs, {"lora_rank": 0})


def _changed(
    arrays: Arrays,
    manifest: CheckpointManifest,
    specs: list[ParameterSpec],
    changes: dict[str, float],
) -> tuple[Arrays, CheckpointManifest]:
    encoder = type(manifest.encoder).model_validate(manifest.encoder.model_dump() | changes)
    made = {
        "digest": digest(arrays),
        "weights": ParameterSchema(parameters=tuple(specs)),
        "encoder": encoder,
        "parent": manifest.digest,
    }
    return arrays, manifest.model_copy(update=made)
