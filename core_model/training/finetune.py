"""The IAT loop: one round's share of fine-tuning on labelled faces."""

from __future__ import annotations

import torch
from torch import Tensor

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
    model.to(device).train()
    detector = [(n, p) for n, p in model.named_parameters() if not n.startswith("identity_head.")]
    optimiser = make_optimiser(detector, config.optimiser, model.encoder.config.depth)
    adversary = torch.optim.AdamW(
        model.identity_head.parameters(),
        lr=config.optimiser.learning_rate * config.identity_learning_rate,
        weight_decay=0.0,
        fused=True,
    )
    log = TrainingLog.of(dataset, config.optimiser, span)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # drop path draws from the global generator
        for _ in range(config.optimiser.epochs_per_round):
            for batch in dataset.shuffled(config.optimiser.batch_size, chance):
                images, aus, known, identities = (t.to(device) for t in batch)
                images = jitter(images, chance) if config.augment else images
                features = model.encoder(standardise(images))  # (N, D)
                # (1) The identity head catches up with the encoder.
                train_identity_head(model, adversary, features.detach(), identities, config)
                # (2) The encoder learns the AUs and unlearns what the identity head uses.
                is_on = log.progress() >= config.head_start
                scale = reversal_scale(model, features, aus, known, identities, config)
                model.reversal.scale = scale if is_on else 0.0
                au_logits, identity_logits = model.heads(features)
                au = au_loss(au_logits, aus, known)
                identity = identity_loss(identity_logits, identities, config.identity_loss)
                optimiser.zero_grad(set_to_none=True)
                (au + identity).backward()
                set_learning_rate(optimiser, learning_rate(config.optimiser, log.progress()))
                optimiser.step()
                log.step(au=au.item(), identity=identity.item())
    return log


def train_identity_head(
    model: IATModel,
    adversary: torch.optim.Optimizer,
    features: Tensor,
    identities: Tensor,
    config: FinetuneConfig,
) -> None:
    """Take ``config.identity_steps`` steps of the identity head on fixed features.

    Shapes: features (N, D), identities (N,).
    """
    for _ in range(config.identity_steps if config.reversal_scale else 0):
        loss = identity_loss(model.identity_head(features), identities, config.identity_loss)
        adversary.zero_grad(set_to_none=True)
        loss.backward()
        adversary.step()


def reversal_scale(
    model: IATModel,
    features: Tensor,
    aus: Tensor,
    known: Tensor,
    identities: Tensor,
    config: FinetuneConfig,
) -> float:
    """Return the factor for the reversed gradient of this step.

    ``absolute`` is the scale itself. ``relative`` gives the reversed gradient ``reversal_scale``
    times the length of the AU gradient at the feature: the identity loss has no upper bound, and
    without this the encoder can leave the AUs behind in climbing it.
    """
    if config.reversal == "absolute" or not config.reversal_scale:
        return config.reversal_scale
    leaf = features.detach().requires_grad_()
    au = au_loss(model.au_head(leaf), aus, known)
    identity = identity_loss(model.identity_head(leaf), identities, config.identity_loss)
    (au_gradient,) = torch.autograd.grad(au, leaf)
    (identity_gradient,) = torch.autograd.grad(identity, leaf)
    ratio = au_gradient.norm() / identity_gradient.norm().clamp(min=1e-12)
    return config.reversal_scale * float(ratio)
