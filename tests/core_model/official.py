"""Files in the layout of the official MAE and FMAE code, from stock timm and from plain functions.

The decoder is written here from the paper and the key names, on torch functions alone: it shares no
line with ours.
"""

import argparse

import numpy as np
import timm
import torch
from torch.nn import functional as F


def detector(size="small", num_aus=12, seed=0, **more):
    """A stock timm ViT as FMAE fine-tunes it, with every weight moved off its initial value."""
    model = timm.create_model(
        f"vit_{size}_patch16_224", num_classes=num_aus, global_pool="avg", **more
    )
    return _moved(model, seed)


def encoder(size="small", seed=0, **more):
    model = timm.create_model(f"vit_{size}_patch16_224", num_classes=0, global_pool="token", **more)
    model = _moved(model, seed)
    with torch.no_grad():
        model.pos_embed.copy_(positions(model.embed_dim, 14))
    return model


def _moved(model, seed):
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=chance))
    return model.eval()


def positions(dim, side):
    """MAE's fixed positions, in numpy, as the paper's appendix describes them."""
    down, across = np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float))

    def one(values):
        rates = 1.0 / 10000 ** (np.arange(dim // 4) / (dim / 4))
        angles = values.reshape(-1, 1) * rates
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    table = np.concatenate([one(down), one(across)], axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, dim)), table])[None]).float()


def decoder_state(encoder_dim, dim=64, depth=2, patch=16, side=14, seed=1):
    chance = torch.Generator().manual_seed(seed)

    def random(*shape):
        return 0.05 * torch.randn(*shape, generator=chance)

    state = {
        "mask_token": random(1, 1, dim),
        "decoder_embed.weight": random(dim, encoder_dim),
        "decoder_embed.bias": random(dim),
        "decoder_pos_embed": positions(dim, side),
        "decoder_norm.weight": 1 + random(dim),
        "decoder_norm.bias": random(dim),
        "decoder_pred.weight": random(patch * patch * 3, dim),
        "decoder_pred.bias": random(patch * patch * 3),
    }
    for i in range(depth):
        for name, out, into in (
            ("attn.qkv", 3 * dim, dim), ("attn.proj", dim, dim),
            ("mlp.fc1", 4 * dim, dim), ("mlp.fc2", dim, 4 * dim),
        ):  # fmt: skip
            state[f"decoder_blocks.{i}.{name}.weight"] = random(out, into)
            state[f"decoder_blocks.{i}.{name}.bias"] = random(out)
        for norm in ("norm1", "norm2"):
            state[f"decoder_blocks.{i}.{norm}.weight"] = 1 + random(dim)
            state[f"decoder_blocks.{i}.{norm}.bias"] = random(dim)
    return state


def decode(state, latent, kept, num_patches, heads=16):
    """Draw all patches. latent (N, K + 1, D) with the class token first; kept (N, K) places."""
    x = F.linear(latent, state["decoder_embed.weight"], state["decoder_embed.bias"])
    full = state["mask_token"].expand(len(x), num_patches, -1).clone()
    for i in range(len(x)):
        full[i, kept[i]] = x[i, 1:]
    x = torch.cat([x[:, :1], full], dim=1) + state["decoder_pos_embed"]
    depth = len({n.split(".")[1] for n in state if n.startswith("decoder_blocks.")})
    for i in range(depth):
        x = _block(state, f"decoder_blocks.{i}.", x, heads)
    x = _norm(state, "decoder_norm", x)
    return F.linear(x, state["decoder_pred.weight"], state["decoder_pred.bias"])[:, 1:]


def _norm(state, name, x):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def _block(state, prefix, x, heads):
    def linear(name, x):
        return x @ state[f"{prefix}{name}.weight"].T + state[f"{prefix}{name}.bias"]

    n, length, dim = x.shape
    query, key, value = (
        linear("attn.qkv", _norm(state, f"{prefix}norm1", x))
        .reshape(n, length, 3, heads, dim // heads)
        .permute(2, 0, 3, 1, 4)
    )
    weights = ((query @ key.transpose(-1, -2)) / (dim // heads) ** 0.5).softmax(-1)
    x = x + linear("attn.proj", (weights @ value).transpose(1, 2).reshape(n, length, dim))
    hidden = F.gelu(linear("mlp.fc1", _norm(state, f"{prefix}norm2", x)))
    return x + linear("mlp.fc2", hidden)


def save(path, state, **more):
    """Write a checkpoint as the official training code does."""
    args = argparse.Namespace(model="mae_vit_small_patch16", epochs=20, lr=None, data_path="x/")
    content = {
        "model": state,
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}, "param_groups": []},
        "epoch": 19, "scaler": {"scale": 65536.0}, "args": args,
    }  # fmt: skip
    torch.save(content | more, path)
    return path
