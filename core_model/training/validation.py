"""How good a model is for people who were held out: they choose when to stop. Never test people."""

from __future__ import annotations

import torch

from core_model.data.augment import standardise
from core_model.data.frames import FrameDataset
from core_model.evaluation.predict import predict
from core_model.evaluation.protocol import best_f1
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder, random_order

MASKS = 0  # seed: each epoch hides the same patches of the same faces
BATCH = 64


def score(
    model: IATModel | MaskedAutoencoder, held_out: FrameDataset, device: torch.device
) -> float:
    """Return the macro F1 of the best common threshold, or the negative MAE loss: more is better.

    Raises:
        ValueError: Nobody held out shows any of the AUs.
    """
    if isinstance(model, IATModel):
        return best_f1(predict(model, held_out, device=device)[0])
    return -_mae_loss(model, held_out, device)


@torch.inference_mode()
def _mae_loss(model: MaskedAutoencoder, held_out: FrameDataset, device: torch.device) -> float:
    chance = torch.Generator().manual_seed(MASKS)
    model.to(device).eval()
    total = 0.0
    for batch in held_out.in_order(BATCH):
        images = standardise(batch.images.to(device))
        order = random_order(len(images), model.encoder.config.num_patches, chance).to(device)
        total += float(model.loss(images, order)) * len(images)
    return total / len(held_out)


def best_epoch(scores: tuple[float, ...]) -> int:
    """Return the epoch of the best score, the latest of equals; counted from 1."""
    return max(range(len(scores)), key=lambda e: (scores[e], e)) + 1


def is_over(scores: tuple[float, ...], patience: int) -> bool:
    """Did so many epochs in a row bring nothing better than an earlier one?"""
    return bool(scores) and len(scores) - best_epoch(scores) >= patience
