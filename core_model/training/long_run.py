"""A training run of many epochs that can stop after any step and go on with the same result.

All chance in a step follows from the seed and the step's number: the order of the examples from the
epoch's, augmentation, masks and drop path from the step's. So weights, optimisers and a number are
all that a checkpoint needs, and no thread that loads ahead can change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from core_model.data.frames import Batch, FrameDataset
from core_model.training.prefetch import prefetched
from core_model.training.seeds import derive_seed


class Stepper(Protocol):
    """``Finetuning`` or ``Pretraining``."""

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of what ``step`` returns."""

    @property
    def device(self) -> torch.device:
        """Where it trains."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """All of them, in a fixed order."""

    def step(self, batch: Batch, progress: float, chance: torch.Generator) -> tuple[Tensor, ...]:
        """Take one step; return the losses that ``losses`` names."""


@dataclass(frozen=True)
class Length:
    """How long a run is, and what its chance comes from."""

    num_examples: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may have fewer examples."""
        return -(-self.num_examples // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Of all epochs."""
        return self.epochs * self.steps_per_epoch

    def order(self, epoch: int) -> Tensor:
        """Return the order of the examples in an epoch, counted from 1. Shape: (N,)."""
        return torch.randperm(self.num_examples, generator=_chance(self.seed, "order", epoch))

    def indices(self, first: int) -> Iterator[Tensor]:
        """Yield the examples of each step, from step ``first``, counted from 0."""
        for epoch in range(first // self.steps_per_epoch + 1, self.epochs + 1):
            batches = self.order(epoch).split(self.batch_size)
            yield from batches[max(0, first - (epoch - 1) * self.steps_per_epoch) :]


@dataclass(frozen=True)
class Done:
    """One step that was taken."""

    step: int  # counted from 1
    epoch: int  # counted from 1
    ends_epoch: bool
    num_examples: int
    losses: tuple[Tensor, ...]  # on the device: reading one waits for it


def run_steps(
    stepper: Stepper,
    dataset: FrameDataset,
    length: Length,
    *,
    done: int = 0,
    threads: int = 1,
    ahead: int = 4,
) -> Iterator[Done]:
    """Take the steps after the first ``done`` ones; yield each when it was taken.

    Between two steps the caller may stop, save, or look at the model; what it does to the global
    random state changes nothing here.

    Args:
        stepper: As it was after ``done`` steps.
        dataset: What to train on.
        length: Of the run.
        done: Steps that were taken before.
        threads: That load examples.
        ahead: Batches that may wait.
    """
    is_cuda = stepper.device.type == "cuda"

    def load(indices: Tensor) -> Batch:
        batch = dataset.as_bytes(indices)
        return Batch(*(t.pin_memory() for t in batch)) if is_cuda else batch

    batches = prefetched(length.indices(done), load, threads=threads, ahead=ahead)
    for number, batch in enumerate(batches, start=done):
        stepper.model.train()
        with torch.random.fork_rng(devices=[stepper.device] if is_cuda else []):
            torch.manual_seed(derive_seed(length.seed, "drop path", number))
            losses = stepper.step(
                batch, (number + 0.5) / length.num_steps, _chance(length.seed, "step", number)
            )
        epoch, place = divmod(number, length.steps_per_epoch)
        ends_epoch = place == length.steps_per_epoch - 1
        yield Done(number + 1, epoch + 1, ends_epoch, len(batch.identities), losses)


def _chance(*parts: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(*parts))
