"""What is said after an epoch of training at the site: mean losses, and people held out."""

from __future__ import annotations

import torch

from core_model.training.long_run import Done
from core_model.training.progress import Progress
from core_model.training.validation import best_epoch


class EpochTally:
    """Losses of an epoch, times examples. They stay on the device until somebody asks."""

    def __init__(self, names: tuple[str, ...], progress: Progress) -> None:
        self._names = names
        self._sums = [torch.tensor(s, dtype=torch.float64) for s in progress.sums] or [
            torch.zeros((), dtype=torch.float64) for _ in names
        ]
        self._count = progress.num_examples

    def add(self, done: Done) -> None:
        """Add a step."""
        for k, loss in enumerate(done.losses):
            self._sums[k] = self._sums[k].to(loss.device) + loss.double() * done.num_examples
        self._count += done.num_examples

    def values(self) -> tuple[tuple[float, ...], int]:
        """Return sums and count."""
        return tuple(float(s) for s in self._sums), self._count

    def line(self, epoch: int, epochs: int, scores: tuple[float, ...]) -> str:
        """Return what is said after an epoch."""
        sums, count = self.values()
        means = ", ".join(
            f"{n} loss {s / count:.4f}" for n, s in zip(self._names, sums, strict=True)
        )
        held = ""
        if scores:
            what = "F1" if "au" in self._names else "loss"
            held = f"; held out: {what} {abs(scores[-1]):.4f}, best epoch {best_epoch(scores)}"
        return f"epoch {epoch} of {epochs}: {means}{held}"
