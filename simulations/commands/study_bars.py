"""What the commands of studies share: bars while people are drawn and cells run, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulations.cells import Progress as Tell

EXIT_INTERRUPTED = 130
LABELS = {"faces": "drawing people", "cells": "trainings"}


@contextmanager
def study_bars(console: Console) -> Iterator[Tell]:
    """Yield what to call with progress; an interrupted study ends with one line and code 130."""
    columns = (
        TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks = {what: bars.add_task(label, total=None) for what, label in LABELS.items()}

        def tell(what: str, done: int, total: int) -> None:
            bars.update(tasks[what], completed=done, total=total)

        try:
            yield tell
        except (KeyboardInterrupt, BrokenExecutor) as e:
            console.print("Interrupted. The same command goes on from here.")
            raise typer.Exit(EXIT_INTERRUPTED) from e
