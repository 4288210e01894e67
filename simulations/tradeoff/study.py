"""Run all cells of a study, one process a core. What is done stays done."""

from __future__ import annotations

from pathlib import Path

from simulations.cells import Progress, draw_people, run_cells
from simulations.tradeoff.grid import Grid
from simulations.tradeoff.people import specs_of
from simulations.tradeoff.result import CellResult
from simulations.tradeoff.train import run_cell


def run_study(
    grid: Grid, out: Path, cache: Path, workers: int, tell: Progress
) -> tuple[CellResult, ...]:
    """Run what is missing; return the results in the order of the grid.

    Args:
        grid: The study.
        out: Folder; each result is a file in ``cells``.
        cache: Folder for generated faces.
        workers: Processes.
        tell: Called with what is made, how many are done, and how many there are.
    """
    cells = grid.cells()
    draw_people((s for cell in cells for s in specs_of(cell).all()), cache, workers, tell)
    paths = run_cells(run_cell, cells, out / "cells", cache, workers, tell)
    return tuple(CellResult.model_validate_json(p.read_text()) for p in paths)
