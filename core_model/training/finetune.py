"""The IAT loop: one round's share of fine-tuning on labelled faces."""

from __future__ import annotations

import torch

from core_model.config import FinetuneConfig
from core_model.data.augment import jitter, standardise
from core_model.data.frames import FrameDataset
from core_model.nn.iat import IATModel, au_loss, identity_loss
from core_model.training.log import TrainingLog
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate


def finetune(
    model: IATModel,
    dataset: FrameDataset,
    config: FinetuneConfig,
    *,
    device: torch.device,
    seed: int,
    span: tuple[float, float] = (0.0, 1.0),
) -> TrainingLog:
    """Train ``model`` in place for ``config.optimiser.epochs_per_round`` passes over ``dataset``.

    Args:
        model: Encoder, AU head and identity head.
        dataset: Labelled faces; its identities are the rows of the identity head.
        config: The plan's settings.
        device: Where to train; the model is moved there.
        seed: Of all chance in this call. Equal seeds give equal weights on one machine.
        span: Which part of the whole run this call is, from 0 to 1; sets the learning rate.
    """
    chance = torch.Generator().manual_seed(seed)
    depth = model.encoder.config.depth
    rates = {"identity_head": config.identity_learning_rate}
    optimiser = make_optimiser(model.named_parameters(), config.optimiser, depth, rates)
    model.to(device).train()
    log = TrainingLog.of(dataset, config.optimiser, span)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # drop path draws from the global generator
        for _ in range(config.optimiser.epochs_per_round):
            for batch in dataset.shuffled(config.optimiser.batch_size, chance):
                images, aus, known, identities = (t.to(device) for t in batch)
                images = jitter(images, chance) if config.augment else images
                au_logits, identity_logits = model(standardise(images))
                au = au_loss(au_logits, aus, known)
                identity = identity_loss(identity_logits, identities, config.identity_loss)
                optimiser.zero_grad(set_to_none=True)
                (au + identity).backward()
                set_learning_rate(optimiser, learning_rate(config.optimiser, log.progress()))
                optimiser.step()
                log.step(au=au.item(), identity=identity.item())
    return log
