"""The MAE loop: one round's share of pretraining on unlabelled faces."""

from __future__ import annotations

import torch

from core_model.config import PretrainConfig
from core_model.data.augment import flip, standardise
from core_model.data.frames import FrameDataset
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.training.log import TrainingLog
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate


def pretrain(
    model: MaskedAutoencoder,
    dataset: FrameDataset,
    config: PretrainConfig,
    *,
    device: torch.device,
    seed: int,
    span: tuple[float, float] = (0.0, 1.0),
) -> TrainingLog:
    """Train ``model`` in place for ``config.optimiser.epochs_per_round`` passes over ``dataset``.

    Args:
        model: Encoder and decoder.
        dataset: Faces; labels are not looked at.
        config: The plan's settings.
        device: Where to train; the model is moved there.
        seed: Of all chance in this call. Equal seeds give equal weights on one machine.
        span: Which part of the whole run this call is, from 0 to 1; sets the learning rate.
    """
    chance = torch.Generator().manual_seed(seed)
    encoder = model.encoder.config
    optimiser = make_optimiser(model.named_parameters(), config.optimiser, encoder.depth)
    model.to(device).train()
    log = TrainingLog.of(dataset, config.optimiser, span)
    for _ in range(config.optimiser.epochs_per_round):
        for batch in dataset.shuffled(config.optimiser.batch_size, chance):
            images = standardise(flip(batch.images.to(device), chance))
            order = random_order(len(images), encoder.num_patches, chance).to(device)
            loss = model.loss(images, order)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            set_learning_rate(optimiser, learning_rate(config.optimiser, log.progress()))
            optimiser.step()
            log.step(mae=loss.item())
    return log
