"""The loops under a privacy plan: one round's share of private fine-tuning or pretraining.

They have no log. The losses, the number of people in a step and the lengths of gradients are
private data without noise: they are never shown, kept or sent. ``optimiser.batch_size`` is how many
frames are on the device at once; epochs mean nothing here, the plan says how many steps there are.

Shapes: N = frames, D = feature dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from core_model.config import FinetuneConfig, OptimiserConfig, PretrainConfig
from core_model.data.augment import flip, jitter, standardise
from core_model.data.frames import FrameDataset
from core_model.nn.iat import IATModel, au_losses, confusion_losses, identity_losses
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.nn.weights import schema_of
from core_model.privacy.averaging import IterateMean
from core_model.privacy.chance import Chance
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.mechanism import Charge, Mechanism
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.scope import trainable
from core_model.training.proximal import Proximal
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate
from core_model.training.seeds import derive_seed

OptimiserOf = Callable[
    [Iterable[tuple[str, nn.Parameter]], OptimiserConfig, int], torch.optim.Optimizer
]


def finetune_privately(
    model: IATModel,
    dataset: FrameDataset,
    config: FinetuneConfig,
    plan: PrivacyPlan,
    *,
    device: torch.device,
    chance: Chance,
    charge: Charge,
    span: tuple[float, float] = (0.0, 1.0),
    optimiser_of: OptimiserOf = make_optimiser,
    proximal: Proximal | None = None,
    features: Tensor | None = None,
) -> None:
    """Train ``model`` in place for ``plan.steps_per_round`` private steps.

    Args:
        model: Encoder, AU head and identity head. The identity head is left alone, unless it is
            inside the plan; then it has ``plan.identity_slots`` rows.
        dataset: Labelled faces.
        config: Settings of the training.
        plan: Settings of the privacy.
        device: Where to train; the model is moved there.
        chance: Of everything that is random here.
        charge: Writes each step down before it is taken.
        span: Which part of the whole run this call is, from 0 to 1; sets the learning rate.
        optimiser_of: Makes the optimiser from weights, settings and the depth of the encoder.
        proximal: Holds weights to where the round began; None: nothing does.
        features: What the encoder says of each frame, if it does not train: then no frame goes
            through it. Shape: (F, D).

    Raises:
        ValueError: ``config`` asks for a reversal that ``plan`` has no head for, or there are
            ``features`` of an encoder that trains.
    """
    _check_head(model, config, plan)
    if features is not None and (plan.scope != "head" or config.augment):
        raise ValueError("features stay what they are only in scope head, without augmentation")
    clips = [ClipGroup(trainable(schema_of(model), plan), plan.clip_norm)]
    if plan.identity_head == "inside":
        names = tuple(f"identity_head.{n}" for n, _ in model.identity_head.named_parameters())
        clips.append(ClipGroup(names, plan.clip_norm * plan.identity_clip))
    loss = FinetuningLoss(model, dataset, config, plan, device, chance.generator(), features)
    trained = [(n, p) for n, p in model.named_parameters() if any(n in c.names for c in clips)]
    optimiser = optimiser_of(trained, config.optimiser, model.encoder.config.depth)
    _run(
        model, clips, loss, optimiser, dataset, config.optimiser, plan, device, chance, charge,
        span, proximal,
    )  # fmt: skip


def pretrain_privately(
    model: MaskedAutoencoder,
    dataset: FrameDataset,
    config: PretrainConfig,
    plan: PrivacyPlan,
    *,
    device: torch.device,
    chance: Chance,
    charge: Charge,
    span: tuple[float, float] = (0.0, 1.0),
    proximal: Proximal | None = None,
) -> None:
    """Train encoder and decoder in place for ``plan.steps_per_round`` private steps.

    Arguments as in ``finetune_privately``; labels are not looked at.
    """
    clips = [ClipGroup(trainable(schema_of(model), plan), plan.clip_norm)]
    loss = PretrainingLoss(model, dataset, device, chance.generator())
    trained = [(n, p) for n, p in model.named_parameters() if n in clips[0].names]
    optimiser = make_optimiser(trained, config.optimiser, model.encoder.config.depth)
    _run(
        model, clips, loss, optimiser, dataset, config.optimiser, plan, device, chance, charge,
        span, proximal,
    )  # fmt: skip


class FinetuningLoss:
    """AU loss of each frame, with what the plan's identity head adds."""

    def __init__(
        self,
        model: IATModel,
        dataset: FrameDataset,
        config: FinetuneConfig,
        plan: PrivacyPlan,
        device: torch.device,
        generator: torch.Generator,
        features: Tensor | None = None,
    ) -> None:
        self._model, self._dataset, self._config = model, dataset, config
        self._features = features  # of an encoder that does not train
        self._head = plan.identity_head if config.reversal_scale else "none"
        self._slots = identity_slots(dataset.subjects, plan.identity_slots)
        self._device, self._generator = device, generator
        self.progress = 0.0

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the losses. Shape: (N,) -> (N,)."""
        features, aus, known, identities = self._examples(frames)
        au = au_losses(self._model.au_head(features), aus, known)
        if self._head == "none":
            return au
        is_on = self.progress >= self._config.head_start
        identity_head, kind = self._model.identity_head, self._config.identity_loss
        slots = self._slots.to(self._device)[identities]

        def identity(logits: Tensor) -> Tensor:
            if self._head == "frozen":
                return confusion_losses(logits)
            return identity_losses(logits, slots, kind)

        scales: float | Tensor = self._config.reversal_scale
        if self._config.reversal == "relative":
            leaf = features.detach().requires_grad_()
            # ``forward`` itself: this look at the heads is none of the clipper's business.
            ours = au_losses(self._model.au_head.forward(leaf), aus, known)
            scales = scales * _ratios(leaf, ours, identity(identity_head.forward(leaf)))
        scales = scales if is_on else scales * 0.0
        if self._head == "frozen":
            return au + (scales * identity(identity_head(features))[:, None]).squeeze(1)
        self._model.reversal.scale = scales
        return au + identity(identity_head(self._model.reversal(features)))

    def _examples(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features and labels. Shapes: (N, D), (N, A), (N, A), (N,)."""
        if self._features is not None:
            data = self._dataset
            found = (self._features, data.aus, data.known, data.identities)
            features, aus, known, identities = (t[frames].to(self._device) for t in found)
            return features, aus, known, identities
        images, aus, known, identities = (t.to(self._device) for t in self._dataset[frames])
        images = jitter(images, self._generator) if self._config.augment else images
        return self._model.encoder(standardise(images)), aus, known, identities


class PretrainingLoss:
    """Masked pixel loss of each frame."""

    def __init__(
        self,
        model: MaskedAutoencoder,
        dataset: FrameDataset,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        self._model, self._dataset = model, dataset
        self._device, self._generator = device, generator
        self.progress = 0.0

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the losses. Shape: (N,) -> (N,)."""
        images = self._dataset[frames].images.to(self._device)
        patches = self._model.encoder.config.num_patches
        order = random_order(len(images), patches, self._generator).to(self._device)
        return self._model.losses(standardise(flip(images, self._generator)), order)


def identity_slots(subjects: Sequence[str], num_slots: int) -> Tensor:
    """Return the row of an identity head inside the mechanism for each person. Shape: (S,).

    A hash of the person alone: counting people would give others new rows when one is removed.
    """
    return torch.tensor([derive_seed("identity slot", s) % num_slots for s in subjects])


def _run(
    model: IATModel | MaskedAutoencoder,
    clips: Sequence[ClipGroup],
    loss: FinetuningLoss | PretrainingLoss,
    optimiser: torch.optim.Optimizer,
    dataset: FrameDataset,
    config: OptimiserConfig,
    plan: PrivacyPlan,
    device: torch.device,
    chance: Chance,
    charge: Charge,
    span: tuple[float, float],
    proximal: Proximal | None,
) -> None:
    model.to(device).train()
    if proximal is not None:
        proximal.hold(optimiser)
    trained = (weight for group in optimiser.param_groups for weight in group["params"])
    mean = IterateMean(trained, plan.averaging)
    mechanism = Mechanism(
        model,
        clips,
        subjects=dataset.identities,
        plan=plan,
        chance=chance,
        optimiser=optimiser,
        charge=charge,
        max_rows=config.batch_size,
    )
    start, end = span
    with mechanism, torch.random.fork_rng():
        torch.manual_seed(chance.generator().initial_seed())  # drop path draws from the global one
        for step in range(plan.steps_per_round):
            loss.progress = start + (end - start) * (step + 0.5) / plan.steps_per_round
            set_learning_rate(optimiser, learning_rate(config, loss.progress))
            mechanism.step(loss)
            mean.update()
    mean.store()


def _check_head(model: IATModel, config: FinetuneConfig, plan: PrivacyPlan) -> None:
    """Raise if the reversal that ``config`` asks for has no head in ``plan``."""
    if plan.identity_head == "none" and config.reversal_scale:
        raise ValueError(
            "a local identity head without noise would break the guarantee of everybody else: set "
            "reversal_scale = 0, or identity_head = frozen or inside in the privacy plan"
        )
    rows = model.identity_head.out_features
    if plan.identity_head == "inside" and rows != plan.identity_slots:
        raise ValueError(f"expected an identity head of {plan.identity_slots} slots, got {rows}")


def _ratios(leaf: Tensor, au: Tensor, identity: Tensor) -> Tensor:
    """Return how much longer the AU gradient is, for each frame alone. Shape: (N, 1)."""
    (au_gradient,) = torch.autograd.grad(au.sum(), leaf)
    (identity_gradient,) = torch.autograd.grad(identity.sum(), leaf)
    lengths = identity_gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return au_gradient.norm(dim=1, keepdim=True) / lengths
