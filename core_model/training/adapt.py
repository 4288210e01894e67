"""Bring a detector to a new site without labels: self-training on its confident answers.

Shapes: N = frames, A = action units.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from core_model.adaptation import AdaptationConfig, Trained
from core_model.config import OptimiserConfig
from core_model.data.augment import jitter, standardise
from core_model.data.frames import FrameDataset
from core_model.nn.bottleneck import add_bottlenecks
from core_model.nn.iat import IATModel, au_loss
from core_model.training.schedule import learning_rate
from core_model.training.seeds import derive_seed

WARMUP = 0.1  # share of the run


def adapt(
    model: IATModel,
    dataset: FrameDataset,
    config: AdaptationConfig,
    *,
    threshold: float,
    device: torch.device,
    seed: int,
) -> list[float]:
    """Adapt ``model`` in place; return the mean loss of each epoch.

    Args:
        model: A detector trained elsewhere. With ``trained="bottlenecks"`` it gets bottlenecks.
        dataset: Faces of the new site, read without labels.
        config: How.
        threshold: From which probability an AU counts as found; comes with the detector.
        device: Where to train; the model is moved there.
        seed: Of all chance in this call. Equal seeds give equal weights on one machine.

    Raises:
        ValueError: The dataset was read with labels: they must not even be at hand.
    """
    if dataset.action_units:
        raise ValueError("adaptation reads faces without labels: make the dataset without AUs")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "bottlenecks"))
        if config.trained == "bottlenecks":
            add_bottlenecks(model.encoder, config.width, config.scale)
    model.to(device)
    frozen = [p for p in model.parameters() if not p.requires_grad]  # as positions from elsewhere
    weights = trainable(model, config.trained)
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=0.0)
    steps = config.epochs * -(-len(dataset) // config.batch_size)
    schedule = OptimiserConfig(learning_rate=config.learning_rate, warmup=WARMUP)
    done = 0
    chance = torch.Generator().manual_seed(seed)
    means: list[float] = []
    for epoch in range(config.epochs):
        if epoch % config.relabel_every == 0:
            aus, known = confident_labels(answers(model, dataset, device), threshold, config)
        losses = []
        model.eval()  # without drop path: few steps, and the labels came from the whole model
        for rows in torch.randperm(len(dataset), generator=chance).split(config.batch_size):
            images = jitter(dataset[rows].images.to(device), chance)
            logits = model.au_head(model.encoder(standardise(images)))
            loss = au_loss(logits, aus[rows].to(device), known[rows].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.param_groups[0]["lr"] = learning_rate(schedule, (done + 0.5) / steps)
            optimiser.step()
            done += 1
            losses.append(float(loss.detach()))
        means.append(float(np.mean(losses)))
    model.requires_grad_(True)
    for weight in frozen:
        weight.requires_grad_(False)
    return means


def trainable(model: IATModel, trained: Trained) -> list[nn.Parameter]:
    """Freeze all weights but those named, and return these; positions stay as they came."""
    model.requires_grad_(False)
    chosen = [p for name, p in model.named_parameters() if _moves(model, name, trained)]
    for weight in chosen:
        weight.requires_grad_(True)
    return chosen


def _moves(model: IATModel, name: str, trained: Trained) -> bool:
    if name.startswith(("identity_head.", "encoder.positions.")):
        return False
    if trained == "all":
        return True
    if trained == "bottlenecks":
        return ".bottleneck." in name
    return isinstance(model.get_submodule(name.rpartition(".")[0]), nn.LayerNorm)


@torch.inference_mode()
def answers(model: IATModel, dataset: FrameDataset, device: torch.device) -> Tensor:
    """Return the probability of each AU in each frame. Shape: (N, A)."""
    model.eval()
    found = [
        model.au_head(model.encoder(standardise(batch.images.to(device)))).sigmoid().cpu()
        for batch in dataset.in_order(256)
    ]
    return torch.cat(found).clone()


def confident_labels(
    probabilities: Tensor, threshold: float, config: AdaptationConfig
) -> tuple[Tensor, Tensor]:
    """Return labels, and a mask of those to believe. Shapes: (N, A) -> (N, A), (N, A)."""
    aus = (probabilities >= threshold).float()
    known = torch.zeros_like(aus)
    for a in range(aus.shape[1]):
        for occurs in (0.0, 1.0):
            rows = torch.nonzero(aus[:, a] == occurs).squeeze(1)
            distance = (probabilities[rows, a] - threshold).abs()
            count = round(config.confident_share * len(rows))
            known[rows[distance.argsort(descending=True)[:count]], a] = 1.0
    return aus, known
