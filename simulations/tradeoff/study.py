"""Run all cells of a study, one process a core. What is done stays done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from simulations.faces.site import drawing_pool, make_face_site
from simulations.tradeoff.grid import Cell, Grid
from simulations.tradeoff.people import specs_of
from simulations.tradeoff.result import CellResult
from simulations.tradeoff.train import run_cell

Progress = Callable[[str, int, int], None]


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
    cells, folder = grid.cells(), out / "cells"
    _draw(cells, cache, workers, tell)
    tell("cells", 0, len(cells))
    context, ignore = get_context("spawn"), (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(workers, context, signal.signal, ignore) as pool:
        jobs = [pool.submit(run_cell, cell, folder, cache) for cell in cells]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                tell("cells", done, len(cells))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    paths = [folder / f"{cell.digest()[:16]}.json" for cell in cells]
    return tuple(CellResult.model_validate_json(p.read_text()) for p in paths)


def _draw(cells: Sequence[Cell], cache: Path, workers: int, tell: Progress) -> None:
    """Draw everyone first: two trainings must not draw the same people at once."""
    specs = {s.digest(): s for cell in cells for s in specs_of(cell).all()}.values()
    total, before = sum(s.num_people for s in specs), 0
    with drawing_pool(workers) as pool:
        for spec in specs:
            tell("faces", before, total)
            make_face_site(spec, cache, pool=pool)
            before += spec.num_people
    tell("faces", total, total)
