"""omote-sim aggregators: compare the ways in which updates become one model."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Annotated

import typer

CACHE = Path.home() / ".cache" / "omote"


def aggregators(
    out: Annotated[Path, typer.Option(help="Folder for results; goes on where it stopped.")] = Path(
        "out/aggregators"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="How many, of people and training.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Of each run.")] = 3,
    table: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path(
        "out/aggregators.md"
    ),
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Compare mean, FedAvgM, FedAdam, FedProx, clipping, trimmed mean, median and multi-Krum.

    Six sites: that label other AUs, whose people are unlike, and alike ones of which one multiplies
    its update by 20 or by -5. Each run is kept as soon as it ends: interrupt it with Ctrl-C,
    and the same command goes on.
    """
    from simulations.aggregators.cell import (
        SETTINGS,
        WAYS,
        CellResult,
        Effort,
        auc_at_start,
        run_cell,
    )
    from simulations.aggregators.page import write_page

    out.mkdir(parents=True, exist_ok=True)
    effort, results, starts = Effort(rounds=rounds), [], []
    for seed in range(seeds):
        starts.append(auc_at_start(seed, effort, out, cache))
        typer.echo(f"start seed {seed}: AUC {starts[-1]:.3f}")
        for setting in SETTINGS:
            for way in WAYS:
                name = f"{setting}-{way}-{seed}-{rounds}"
                path = out / f"{name}.json"
                if not path.exists():
                    root = out / name
                    shutil.rmtree(root, ignore_errors=True)  # of a run that was interrupted
                    result = run_cell(setting, way, seed, effort, root, cache)
                    draft = path.with_suffix(f".{os.getpid()}.draft")
                    draft.write_text(result.model_dump_json())
                    draft.replace(path)
                    shutil.rmtree(root)
                results.append(CellResult.model_validate_json(path.read_text()))
                typer.echo(f"{setting:8} {way:10} seed {seed}: AUC {results[-1].auc:.3f}")
    command = f"omote-sim aggregators --seeds {seeds} --rounds {rounds}"
    write_page(results, starts, command, platform.machine(), table)
    typer.echo(f"Table: {table.resolve()}")
