"""Trainings that are attacked: by heart, with IAT, and under a promise about every person.

The loops are those of sites. Chance is seeded: nobody here is real.

Shapes: S = people, R = frames of a person, P = all weights that train, laid end to end.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_model.config import FinetuneConfig, OptimiserConfig
from core_model.data.augment import standardise
from core_model.data.frames import FrameDataset
from core_model.nn.iat import IATModel, au_losses
from core_model.nn.weights import schema_of
from core_model.privacy.accounting import calibrate
from core_model.privacy.audit import directions
from core_model.privacy.chance import SimulationChance
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.scope import trainable
from core_model.training.finetune import finetune
from core_model.training.private import FinetuningLoss, finetune_privately
from core_model.training.seeds import derive_seed
from simulations.attacks.setting import AUS, CPU, ENCODER, Setting

DELTA = 1e-5
RATE = 0.5  # of a person in a private step


def settings_of(epochs: int = 1, reversal_scale: float = 0.0) -> FinetuneConfig:
    """Return settings that learn by heart: no augmentation, a steady rate."""
    return FinetuneConfig(
        drop_path=0.0, augment=False, reversal="relative", reversal_scale=reversal_scale,
        identity_loss="ce", identity_learning_rate=3.0, identity_steps=4, head_start=0.35,
        optimiser=OptimiserConfig(
            learning_rate=2e-3, warmup=0.0, batch_size=16, weight_decay=0.0, epochs_per_round=epochs
        ),
    )  # fmt: skip


def fresh(seed: int, identities: int = 1) -> IATModel:
    """Return a detector that knows nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "attacked weights"))
        return IATModel(ENCODER, AUS, identities, settings_of())


def shared_weights(setting: Setting) -> IATModel:
    """Return what a round starts from: a detector trained on the public people."""
    model = fresh(setting.seed, len(setting.public.subjects))
    epochs = max(4, setting.effort.epochs // 4)
    finetune(model, setting.public, settings_of(epochs), device=CPU, seed=setting.seed)
    return model


def train_plainly(start: IATModel, dataset: FrameDataset, epochs: int, seed: int) -> IATModel:
    """Return ``start`` after training without any promise."""
    model = copy.deepcopy(start)
    # Each site has an identity head of its own people; without reversal it teaches nobody.
    model.identity_head = torch.nn.Linear(ENCODER.embed_dim, len(dataset.subjects))
    finetune(model, dataset, settings_of(epochs), device=CPU, seed=seed)
    return model


def plan_of(epsilon: float, steps: int, people: int) -> PrivacyPlan:
    """Return a plan whose ``steps`` together cost each person ``epsilon``."""
    noise = calibrate(epsilon, sampling_rate=RATE, steps=steps, delta=DELTA)
    return PrivacyPlan(
        sampling_rate=RATE, nominal_units=people, frames_per_subject=4, steps_per_round=steps,
        noise_multiplier=noise, delta=DELTA, scope="full",
    )  # fmt: skip


def train_privately(
    start: IATModel, dataset: FrameDataset, epsilon: float, steps: int, people: int, seed: int
) -> IATModel:
    """Return ``start`` after training under a promise."""
    model = copy.deepcopy(start)
    finetune_privately(
        model, dataset, settings_of(), plan_of(epsilon, steps, people),
        device=CPU, chance=SimulationChance(seed), charge=lambda _: None,
    )  # fmt: skip
    return model


@torch.no_grad()
def losses_of(model: IATModel, dataset: FrameDataset) -> NDArray[np.float64]:
    """Return the mean AU loss of each person. Shape: (S,)."""
    model.eval()
    found = [
        au_losses(model(standardise(b.images))[0], b.aus, b.known) for b in dataset.in_order(256)
    ]
    sums = np.bincount(dataset.identities.numpy(), torch.cat(found).double().numpy())
    return np.asarray(sums / np.bincount(dataset.identities.numpy()))


def gradients_of(model: IATModel, dataset: FrameDataset, frames: Tensor) -> Tensor:
    """Return gradients of unit length of groups of frames. Shapes: (S, R) -> (S, P)."""
    plan = plan_of(8.0, 1, len(dataset.subjects))
    model = copy.deepcopy(model)
    loss = FinetuningLoss(model, dataset, settings_of(), plan, CPU, torch.Generator())
    names = trainable(schema_of(model), plan)
    return directions(model, ClipGroup(names, 1.0), plan, loss, frames)


def frames_of_people(dataset: FrameDataset, each: int) -> Tensor:
    """Return the same number of frames of each person, evenly spread. Shape: (S, each)."""
    rows = []
    for person in range(len(dataset.subjects)):
        own = torch.nonzero(dataset.identities == person).flatten()
        rows.append(own[torch.linspace(0, len(own) - 1, each).round().long()])
    return torch.stack(rows)


def change(before: IATModel, after: IATModel) -> Tensor:
    """Return what training moved, as a site would send it. Shape: (P,)."""
    names = trainable(schema_of(before), plan_of(8.0, 1, 1))
    first, last = dict(before.named_parameters()), dict(after.named_parameters())
    return torch.cat([(last[n] - first[n]).detach().flatten() for n in names])
