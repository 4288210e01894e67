"""A bar with rate and time left, and lines above it; on standard error, apart from results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from core_model.training.long_run import Done
from fl_client.long_training import SAID_EVERY


class TrainingBar:
    """Fulfils ``fl_client.long_training.Bar``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._examples = 0
        self._loss = ""

    def begin(self, num_steps: int, done: int) -> None:
        """Begin, after some steps that were taken before."""
        self._task = self._progress.add_task("training", total=num_steps, completed=done, rate="")

    def advance(self, done: Done, epochs: int) -> None:
        """Show a step."""
        assert self._task is not None
        self._examples += done.num_examples
        if done.step % SAID_EVERY == 1 or not self._loss:
            self._loss = f"loss {float(done.losses[0]):.3f}"
        elapsed = self._progress.tasks[self._task].elapsed or 0.0
        rate = f"{self._examples / elapsed:,.0f} frames/s" if elapsed else ""
        self._progress.update(
            self._task, advance=1, description=f"epoch {done.epoch} of {epochs}",
            rate=f"{self._loss}  {rate}",
        )  # fmt: skip


@contextmanager
def shown() -> Iterator[tuple[TrainingBar, Callable[[str], None]]]:
    """Yield a bar, and what writes a line above it."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console) as progress:
        yield TrainingBar(progress), console.print
