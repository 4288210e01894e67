"""Run all cells of the study of levers, and say what each lever brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core_model.evaluation.bootstrap import draw_people as resample
from core_model.evaluation.metrics import Score, f1_from_counts
from core_model.evaluation.paired import compare_counts
from simulations.cells import Progress, draw_people, run_cells
from simulations.levers.people import all_specs
from simulations.levers.plan import LeverPlan
from simulations.levers.result import LeverCellResult, LeverResult
from simulations.levers.train import run_cell

REFERENCE = "reference"
RESAMPLES = 1000


@dataclass(frozen=True)
class LeverRow:
    """A lever, over all seeds. Intervals draw people; each seed has people of its own."""

    name: str
    f1_new_people: float
    f1_new_site: Score
    gain: Score | None  # in F1 at the new site over the reference, by the same draws of people
    p_value: float | None
    by_seed: tuple[float, ...]  # the gain in each seed
    auc_new_site: float
    probe_features: float
    probe_logits: float
    chance: float
    equal_error_rate: float
    seconds: float

    @property
    def verdict(self) -> str:
        """Say what was shown."""
        if self.gain is None:
            return "reference"
        if self.gain.low > 0:
            return "helps"
        return "hurts" if self.gain.high < 0 else "no difference shown"


def run_study(
    plan: LeverPlan, out: Path, cache: Path, workers: int, tell: Progress
) -> tuple[LeverCellResult, ...]:
    """Run what is missing; return the results in the order of the plan.

    Args:
        plan: The study.
        out: Folder; each result is a file in ``cells``.
        cache: Folder for generated faces.
        workers: Processes.
        tell: Called with what is made, how many are done, and how many there are.
    """
    cells = plan.cells()
    draw_people((s for cell in cells for s in all_specs(cell)), cache, workers, tell)
    paths = run_cells(run_cell, cells, out / "cells", cache, workers, tell)
    return tuple(LeverCellResult.model_validate_json(p.read_text()) for p in paths)


def summarise(results: Sequence[LeverCellResult]) -> tuple[LeverRow, ...]:
    """Return a row for each lever, the reference first.

    Raises:
        ValueError: The reference, or a lever in one of the seeds, is missing.
    """
    seeds = list(dict.fromkeys(r.cell.base.seed for r in results))
    found = {(lever.name, r.cell.base.seed): lever for r in results for lever in r.levers}
    names = list(dict.fromkeys(name for name, _ in found))
    if missing := [(n, s) for n in (REFERENCE, *names) for s in seeds if (n, s) not in found]:
        raise ValueError(f"no results of {missing}")
    reference = [found[REFERENCE, seed] for seed in seeds]
    rows = [_row([found[name, seed] for seed in seeds], reference) for name in names]
    return tuple(sorted(rows, key=lambda r: r.gain is not None))  # stable: the plan's order


def _row(mine: Sequence[LeverResult], reference: Sequence[LeverResult]) -> LeverRow:
    counts = np.concatenate([r.counts_array() for r in mine])
    drawn = f1_from_counts(np.tensordot(resample(len(counts), RESAMPLES), counts, axes=1))
    f1 = float(np.nanmean(f1_from_counts(counts.sum(axis=0))))
    is_reference = mine[0].name == REFERENCE
    theirs = np.concatenate([r.counts_array() for r in reference])
    comparison = None if is_reference else compare_counts(theirs, counts)

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return LeverRow(
        name=mine[0].name,
        f1_new_people=mean([r.f1_new_people for r in mine]),
        f1_new_site=Score.of(f1, np.nanmean(drawn, axis=1), len(counts)),
        gain=None if comparison is None else comparison.difference,
        p_value=None if comparison is None else comparison.p_value,
        by_seed=tuple(m.f1_new_site - r.f1_new_site for m, r in zip(mine, reference, strict=True)),
        auc_new_site=mean([r.auc_new_site for r in mine]),
        probe_features=mean([r.features.accuracy for r in mine]),
        probe_logits=mean([r.logits.accuracy for r in mine]),
        chance=mean([r.features.chance for r in mine]),
        equal_error_rate=mean([r.equal_error_rate.value for r in mine]),
        seconds=mean([r.seconds for r in mine]),
    )
