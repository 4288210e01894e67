"""What one call of a training loop did. Stays at the site."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from core_model.config import OptimiserConfig
from core_model.data.frames import FrameDataset


@dataclass
class TrainingLog:
    """Steps done of ``num_steps``, and the losses of each."""

    num_steps: int
    span: tuple[float, float]
    steps: int = 0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(
        cls, dataset: FrameDataset, config: OptimiserConfig, span: tuple[float, float]
    ) -> TrainingLog:
        """Return an empty log for the passes over ``dataset`` that ``config`` asks for."""
        per_epoch = -(-len(dataset) // config.batch_size)
        return cls(per_epoch * config.epochs_per_round, span)

    def progress(self) -> float:
        """Return how much of the whole run is done, from 0 to 1."""
        start, end = self.span
        return start + (end - start) * (self.steps + 0.5) / self.num_steps

    def step(self, **losses: float) -> None:
        """Note one optimiser step."""
        self.steps += 1
        for name, value in losses.items():
            self.losses[name].append(value)

    def mean(self, name: str, last: int = 20) -> float:
        """Return the mean of a loss over its last steps."""
        tail = self.losses[name][-last:]
        return sum(tail) / len(tail)
