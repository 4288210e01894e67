"""The IAT loop: a round's share of fine-tuning on labelled faces, and the step that it is of."""

from __future__ import annotations

import torch
from torch import Tensor

from core_model.config import FinetuneConfig
from core_model.data.augment import standardise
from core_model.data.frames import Batch, FrameDataset, as_floats
from core_model.nn.iat import IATModel, au_loss, au_losses, identity_loss
from core_model.training.log import TrainingLog
from core_model.training.manner import PLAIN, Manner, augmented
from core_model.training.proximal import Proximal
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate


def finetune(
    model: IATModel,
    dataset: FrameDataset,
    config: FinetuneConfig,
    *,
    device: torch.device,
    seed: int,
    span: tuple[float, float] = (0.0, 1.0),
    proximal: Proximal | None = None,
) -> TrainingLog:
    """Train ``model`` in place for ``config.optimiser.epochs_per_round`` passes over ``dataset``.

    Args:
        model: Encoder, AU head and identity head.
        dataset: Labelled faces; its identities are the rows of the identity head.
        config: The plan's settings.
        device: Where to train; the model is moved there.
        seed: Of all chance in this call. Equal seeds give equal weights on one machine.
        span: Which part of the whole run this call is, from 0 to 1; sets the learning rate.
        proximal: Holds weights to where the round began; None: nothing does.
    """
    chance = torch.Generator().manual_seed(seed)
    finetuning = Finetuning(model, config, device)
    if proximal is not None:
        proximal.hold(finetuning.optimiser)
    log = TrainingLog.of(dataset, config.optimiser, span)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # drop path draws from the global generator
        for _ in range(config.optimiser.epochs_per_round):
            for batch in dataset.shuffled(config.optimiser.batch_size, chance):
                au, identity = finetuning.step(batch, log.progress(), chance)
                log.step(au=au.item(), identity=identity.item())
    return log


class Finetuning:
    """A model and its two optimisers.

    Args:
        model: Moved to ``device``.
        config: The plan's settings.
        device: Where to train.
        manner: What the plan leaves open.
        positive_weights: How much more a positive label of each AU counts. Shape: (A,).
    """

    losses = ("au", "identity")

    def __init__(
        self,
        model: IATModel,
        config: FinetuneConfig,
        device: torch.device,
        manner: Manner = PLAIN,
        positive_weights: Tensor | None = None,
    ) -> None:
        self.model, self.config, self.device, self.manner = model, config, device, manner
        model.to(device).train()
        detector = [
            (n, p) for n, p in model.named_parameters() if not n.startswith("identity_head.")
        ]
        self.optimiser = make_optimiser(detector, config.optimiser, model.encoder.config.depth)
        self.adversary = torch.optim.AdamW(
            model.identity_head.parameters(),
            lr=config.optimiser.learning_rate * config.identity_learning_rate,
            weight_decay=0.0,
        )
        self._weights = None if positive_weights is None else positive_weights.to(device)

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """All of them, in a fixed order."""
        return self.optimiser, self.adversary

    def step(self, batch: Batch, progress: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Take one step; return the AU loss and the identity loss, two scalars.

        Args:
            batch: Some examples.
            progress: How much of the whole run is done, from 0 to 1.
            chance: Of the augmentation.
        """
        self.optimiser.zero_grad(set_to_none=True)
        parts = list(zip(*(t.chunk(self.manner.parts) for t in batch), strict=True))
        sums = [self._backward(Batch(*part), len(batch.images), progress, chance) for part in parts]
        rate = learning_rate(self.config.optimiser, progress)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.step()
        au, identity = zip(*sums, strict=True)
        return torch.stack(au).sum(), torch.stack(identity).sum()

    def _backward(
        self, part: Batch, num_examples: int, progress: float, chance: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of a part of a batch; return its share of the two losses."""
        model, config = self.model, self.config
        images, aus, known, identities = (t.to(self.device, non_blocking=True) for t in part)
        images = augmented(as_floats(images), chance, self.manner, plan_augments=config.augment)
        with self.manner.autocast(self.device):
            features = model.encoder(standardise(images))  # (N, D)
        features = features.float()
        # (1) The identity head catches up with the encoder.
        train_identity_head(model, self.adversary, features.detach(), identities, config)
        # (2) The encoder learns the AUs and unlearns what the identity head uses.
        is_on = progress >= config.head_start
        scale = reversal_scale(model, features, aus, known, identities, config)
        model.reversal.scale = scale if is_on else 0.0
        au_logits, identity_logits = model.heads(features)
        share = len(images) / num_examples
        au = share * au_losses(au_logits, aus, known, self._weights).mean()
        identity = share * identity_loss(identity_logits, identities, config.identity_loss)
        (au + identity).backward()
        return au.detach(), identity.detach()


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
