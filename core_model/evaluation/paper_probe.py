"""The paper's own identity probe (arXiv 2407.11243), weak as it is, to stand beside stronger ones.

A linear layer without bias on frozen features, one-hot BCE, AdamW at 5e-5, batches of 64, 20
epochs: far from converged. Its frames are split at random, so neighbours of one video are on both
sides. The authors' probe also sees features under augmentation and drop path, which weakens it
further; here the features are clean.

Shapes: N = frames, D = features, S = subjects.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from core_model.evaluation.attackers import Evidence

FRAMES_PER_PERSON = 100
TRAINING_SHARE = 0.7
EPOCHS, WARMUP_EPOCHS, BATCH_SIZE = 20, 2, 64
LEARNING_RATE, WEIGHT_DECAY = 5e-5, 0.05


def paper_probe(evidence: Evidence, *, seed: int = 0) -> float:
    """Return the share of frames given to the right person after the last epoch."""
    chance = np.random.default_rng(seed)
    train, test = _split(evidence, chance)
    people = np.unique(evidence.subjects)
    identities = torch.from_numpy(np.searchsorted(people, evidence.subjects))
    features = torch.from_numpy(np.asarray(evidence.features, np.float32))
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(features.shape[1])
    start = (2 * torch.rand(len(people), features.shape[1], generator=generator) - 1) * bound
    weight = start.requires_grad_()
    optimiser = torch.optim.AdamW([weight], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    targets = F.one_hot(identities, len(people)).float()
    steps = -(-len(train) // BATCH_SIZE)
    for epoch in range(EPOCHS):
        for step, batch in enumerate(torch.from_numpy(chance.permutation(train)).split(BATCH_SIZE)):
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * _rate(epoch + step / steps)
            loss = F.binary_cross_entropy_with_logits(features[batch] @ weight.T, targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.inference_mode():
        named = (features[test] @ weight.T).argmax(dim=1)
    return float((named == identities[test]).float().mean())


def _split(
    evidence: Evidence, chance: np.random.Generator
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return random frames of each person for training and for the test."""
    train, test = [], []
    for person in np.unique(evidence.subjects):
        own = chance.permutation(np.flatnonzero(evidence.subjects == person))[:FRAMES_PER_PERSON]
        cut = int(TRAINING_SHARE * len(own))
        train.append(own[:cut])
        test.append(own[cut:])
    return np.concatenate(train), np.concatenate(test)


def _rate(epoch: float) -> float:
    """Warm-up and half cosine, as the authors' fine-tuning has."""
    if epoch < WARMUP_EPOCHS:
        return epoch / WARMUP_EPOCHS
    return 0.5 * (1 + math.cos(math.pi * (epoch - WARMUP_EPOCHS) / (EPOCHS - WARMUP_EPOCHS)))
