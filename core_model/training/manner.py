"""How a site trains beyond what a plan or recipe says. None of it crosses the wire.

Rounds train in the plain manner. Shapes: N = examples, A = action units.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core_model.config import Settings
from core_model.data.augment import flip, jitter
from core_model.data.paper_augment import paper_augment

Precision = Literal["auto", "float32", "bfloat16"]
Augmentation = Literal["plan", "gentle", "paper", "none"]
Balance = Literal["none", "pos_weight"]
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0  # of a positive label


class Manner(Settings):
    """Choices that leave the recipe alone."""

    precision: Precision = "float32"  # of the encoder and decoder; heads and losses are float32
    parts: int = Field(1, ge=1)  # of a batch, one after another: gradient accumulation
    augmentation: Augmentation = "plan"  # plan: as the recipe's augment says
    balance: Balance = "none"  # of AUs that are rare or common

    def on(self, device: torch.device) -> Manner:
        """Return it with the precision that ``device`` has.

        Raises:
            ValueError: bfloat16 is asked for and the device has none.
        """
        has = has_bfloat16(device)
        if self.precision == "bfloat16" and not has:
            raise ValueError(f"{device} has no bfloat16 of its own; take --precision auto")
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if has else "float32"})

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the block in which encoder and decoder run. Its features must be made float32."""
        assert self.precision != "auto"
        is_on = self.precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=is_on)


PLAIN = Manner()


def has_bfloat16(device: torch.device) -> bool:
    """Does the device compute in bfloat16 by itself, and so gain by it?"""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name yet
    return device.type == "cpu" and asked is not None and bool(asked())


def augmented(
    images: Tensor, chance: torch.Generator, manner: Manner, *, plan_augments: bool
) -> Tensor:
    """Change faces at random, for fine-tuning. Shape: (N, 3, S, S) in [0, 1], kept."""
    kind = manner.augmentation
    if kind == "plan":
        kind = "gentle" if plan_augments else "none"
    if kind == "none":
        return images
    return jitter(images, chance) if kind == "gentle" else paper_augment(images, chance)


def mirrored(images: Tensor, chance: torch.Generator, manner: Manner) -> Tensor:
    """Change faces at random, for pretraining: FMAE only mirrors. Shape: (N, 3, S, S), kept."""
    return images if manner.augmentation == "none" else flip(images, chance)


def positive_weights(aus: Tensor, known: Tensor) -> Tensor:
    """Return how much more a positive label of each AU counts: negatives by positives.

    Of the people trained on alone. Held between 0.1 and 10; 1 where no label is known.
    Shapes: (N, A) each; (A,).
    """
    positives = (aus * known).sum(dim=0)
    negatives = known.sum(dim=0) - positives
    ratio = negatives / positives.clamp(min=1)
    return torch.where(known.sum(dim=0) > 0, ratio.clamp(LEAST_WEIGHT, MOST_WEIGHT), 1.0)
