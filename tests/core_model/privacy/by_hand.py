"""What clipping should give, made the slow way: one backward pass for each unit."""

import torch

from core_model.privacy.clipping import clip_factors


def unit_gradients(model, names, loss_of_frames, frames):
    """Return the gradient of each unit's mean loss, by weight. ``frames``: (U, R)."""
    weights = {n: p for n, p in model.named_parameters() if n in names}
    made = []
    for unit in frames:
        loss = loss_of_frames(unit).mean()
        found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        made.append({
            n: torch.zeros_like(w) if g is None else g
            for (n, w), g in zip(weights.items(), found, strict=True)
        })  # fmt: skip
    return made


def lengths(gradients, names):
    return torch.stack([
        torch.stack([unit[n].square().sum() for n in names]).sum().sqrt() for unit in gradients
    ])  # fmt: skip


def clipped_sums(gradients, groups, clipping):
    sums = {}
    for group in groups:
        factors = clip_factors(lengths(gradients, group.names), group.clip_norm, clipping)
        for name in group.names:
            sums[name] = sum(f * unit[name] for f, unit in zip(factors, gradients, strict=True))
    return sums


def flat(arrays):
    return torch.cat([arrays[name].flatten() for name in sorted(arrays)])


def apart(ours, theirs):
    """Return the distance of two sums, relative to their length."""
    return float((flat(ours) - flat(theirs)).norm() / flat(theirs).norm())
