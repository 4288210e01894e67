"""The MAE loop: a round's share of pretraining on unlabelled faces, and the step that it is of."""

from __future__ import annotations

import torch
from torch import Tensor

from core_model.config import PretrainConfig
from core_model.data.augment import standardise
from core_model.data.frames import Batch, FrameDataset, as_floats
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.training.log import TrainingLog
from core_model.training.manner import PLAIN, Manner, mirrored
from core_model.training.proximal import Proximal
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate


def pretrain(
    model: MaskedAutoencoder,
    dataset: FrameDataset,
    config: PretrainConfig,
    *,
    device: torch.device,
    seed: int,
    span: tuple[float, float] = (0.0, 1.0),
    proximal: Proximal | None = None,
) -> TrainingLog:
    """Train ``model`` in place for ``config.optimiser.epochs_per_round`` passes over ``dataset``.

    Args:
        model: Encoder and decoder.
        dataset: Faces; labels are not looked at.
        config: The plan's settings.
        device: Where to train; the model is moved there.
        seed: Of all chance in this call. Equal seeds give equal weights on one machine.
        span: Which part of the whole run this call is, from 0 to 1; sets the learning rate.
        proximal: Holds weights to where the round began; None: nothing does.
    """
    chance = torch.Generator().manual_seed(seed)
    pretraining = Pretraining(model, config, device)
    if proximal is not None:
        proximal.hold(pretraining.optimiser)
    log = TrainingLog.of(dataset, config.optimiser, span)
    for _ in range(config.optimiser.epochs_per_round):
        for batch in dataset.shuffled(config.optimiser.batch_size, chance):
            (loss,) = pretraining.step(batch, log.progress(), chance)
            log.step(mae=loss.item())
    return log


class Pretraining:
    """A model and its optimiser.

    Args:
        model: Moved to ``device``.
        config: The plan's settings.
        device: Where to train.
        manner: What the plan leaves open.
    """

    losses = ("mae",)

    def __init__(
        self,
        model: MaskedAutoencoder,
        config: PretrainConfig,
        device: torch.device,
        manner: Manner = PLAIN,
    ) -> None:
        self.model, self.config, self.device, self.manner = model, config, device, manner
        depth = model.encoder.config.depth
        self.optimiser = make_optimiser(model.named_parameters(), config.optimiser, depth)
        model.to(device).train()

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """All of them, in a fixed order."""
        return (self.optimiser,)

    def step(self, batch: Batch, progress: float, chance: torch.Generator) -> tuple[Tensor]:
        """Take one step; return the loss, a scalar.

        Args:
            batch: Some examples.
            progress: How much of the whole run is done, from 0 to 1.
            chance: Of mirroring and masking.
        """
        self.optimiser.zero_grad(set_to_none=True)
        parts = batch.images.chunk(self.manner.parts)
        losses = [self._backward(part, len(batch.images), chance) for part in parts]
        rate = learning_rate(self.config.optimiser, progress)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.step()
        return (torch.stack(losses).sum(),)

    def _backward(self, images: Tensor, num_examples: int, chance: torch.Generator) -> Tensor:
        """Add the gradient of a part of a batch; return its share of the loss."""
        model, share = self.model, len(images) / num_examples
        images = as_floats(images.to(self.device, non_blocking=True))
        images = standardise(mirrored(images, chance, self.manner))
        order = random_order(len(images), model.encoder.config.num_patches, chance).to(self.device)
        with self.manner.autocast(self.device):
            predicted = model(images, order)
        loss = share * model.loss_of(predicted.float(), images, order)
        loss.backward()
        return loss.detach()
