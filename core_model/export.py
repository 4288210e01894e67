"""Write weights for other programs: the official layout of MAE and FMAE."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from core_model.checkpoint import CheckpointManifest
from core_model.mae_layout import Kind, LayoutError, fixed_table, official_name
from core_model.schema import Arrays


def to_mae(arrays: Arrays, manifest: CheckpointManifest) -> OrderedDict[str, Tensor]:
    """Return weights under their official names: what was imported comes out to the bit.

    Raises:
        LayoutError: The encoder is not a plain ViT, so the official code could not load it.
    """
    encoder = manifest.encoder
    if encoder.stem != "patch" or encoder.pooling == "weighted":
        raise LayoutError(
            f"the official ViT has no {encoder.stem} stem with {encoder.pooling} pooling; "
            "sizes tiny to large are plain"
        )
    kind: Kind = "encoder"
    if any(n.startswith("decoder.") for n in arrays):
        kind = "autoencoder"
    elif any(n.startswith("au_head.") for n in arrays):
        kind = "detector"
    state: OrderedDict[str, Tensor] = OrderedDict()
    for spec in manifest.weights.parameters:
        if kind == "autoencoder" and spec.name.startswith("au_head."):
            continue  # the official autoencoder has no heads
        tensor = torch.from_numpy(arrays[spec.name])
        is_table = spec.name.endswith("positions.table")
        state[official_name(spec.name, encoder, kind)] = tensor[None] if is_table else tensor
    if encoder.positions == "fixed":
        side = encoder.image_size // encoder.patch_size
        state["pos_embed"] = fixed_table(side, encoder.embed_dim)
        if kind == "autoencoder":
            dim = arrays["decoder.embed.weight"].shape[0]
            state["decoder_pos_embed"] = fixed_table(side, dim)
    return state


def write_mae(path: Path, arrays: Arrays, manifest: CheckpointManifest) -> int:
    """Write a ``.pth`` of the official layout; return the number of weights in it.

    Raises:
        LayoutError: The encoder is not a plain ViT.
    """
    state = to_mae(arrays, manifest)
    about = {"licence": manifest.licence, "digest": manifest.digest}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    torch.save({"model": state, "omote": about}, draft)
    draft.replace(path)
    return len(state)
