"""Run the cells of a study, one process a core. What is done stays done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from simulations.faces.site import drawing_pool, make_face_site
from simulations.faces.spec import FaceSiteSpec

Progress = Callable[[str, int, int], None]
Cell = TypeVar("Cell")


def draw_people(specs: Iterable[FaceSiteSpec], cache: Path, workers: int, tell: Progress) -> None:
    """Draw everyone first: two trainings must not draw the same people at once."""
    once = {s.digest(): s for s in specs}.values()
    total, before = sum(s.num_people for s in once), 0
    with drawing_pool(workers) as pool:
        for spec in once:
            tell("faces", before, total)
            make_face_site(spec, cache, pool=pool)
            before += spec.num_people
    tell("faces", total, total)


def run_cells(
    run_cell: Callable[[Cell, Path, Path], Path],
    cells: Sequence[Cell],
    folder: Path,
    cache: Path,
    workers: int,
    tell: Progress,
) -> list[Path]:
    """Run what is missing; return the files of the results in the order of the cells.

    Args:
        run_cell: Runs one cell, or finds its result in the folder; a function of a module.
        cells: All of them.
        folder: For results.
        cache: Folder for generated faces.
        workers: Processes.
        tell: Called with what is made, how many are done, and how many there are.
    """
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
    return [job.result() for job in jobs]
