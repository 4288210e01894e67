"""omote-sim privacy: what a promise about each person costs in F1."""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

LABELS = {"faces": "drawing people", "public": "public phase", "cells": "private phases"}
CACHE = Path.home() / ".cache" / "omote"
EXIT_INTERRUPTED = 130


def privacy(
    out: Annotated[Path, typer.Option(help="Folder for results; goes on where it stopped.")] = Path(
        "out/privacy"
    ),
    grid: Annotated[
        str,
        typer.Option(
            help="tiny: two cells; cross: each setting against epsilon; heads: each identity head "
            "of the private phase; full: all."
        ),
    ] = "cross",
    seeds: Annotated[int, typer.Option(min=1, help="How many, of sampling and noise.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes; one for each core.")] = 2,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Measure F1 on new people against epsilon of a person: 1, 2, 4, 8 and without noise.

    A detector is trained on public people, with and without IAT; then sites fine-tune it under a
    promise about each of their people. Varied: which weights train, people a site, sites. Writes
    curve.md, curve.json and plots; with --grid heads, heads.md and heads.json: F1, and how well
    people are told apart by the features. Every cell is kept as soon as it is measured: interrupt
    it with Ctrl-C, and the same command goes on.
    """
    from simulations.privacy_cell import Effort  # torch takes a second: not for --help
    from simulations.privacy_curve import cells_of, run_curve
    from simulations.privacy_heads import write_heads
    from simulations.privacy_page import write_curve

    effort = Effort() if grid != "tiny" else Effort(
        public_epochs=1, pretraining_epochs=1, rounds=1, steps_per_round=2
    )  # fmt: skip
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    with Progress(*columns) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(LABELS[what], total=total)
            bars.update(tasks[what], completed=done)

        try:
            cells = cells_of(grid, range(seeds))
            results = run_curve(cells, effort, out, cache, workers, tell)
        except ValueError as e:
            typer.echo(str(e), err=True)
            raise typer.Exit(1) from e
        except (KeyboardInterrupt, BrokenExecutor) as e:
            typer.echo("Interrupted. The same command goes on from here.")
            raise typer.Exit(EXIT_INTERRUPTED) from e
    command = f"omote-sim privacy --grid {grid} --seeds {seeds}"
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    machine = f"{platform.machine()}, {processors} processors"
    write = write_heads if grid == "heads" else write_curve
    table = write(results, command, machine, out)
    typer.echo(f"Table: {table.resolve()}")
    for plot in sorted(out.glob("curve-*.svg")) if grid != "heads" else ():
        typer.echo(f"Plot:  {plot.resolve()}")
