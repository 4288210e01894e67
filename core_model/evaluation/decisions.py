"""Did people decide better with the detector? Paired decisions on the same cases. No torch.

A CSV with a line for each case::

    case,truth,without,with
    c01,1,0,1

``truth`` is what the case was (by a reference standard), the others what was decided without and
with the detector: 1 or 0. ``case`` names no person.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from core_model.config import Settings

COLUMNS = ("case", "truth", "without", "with")
Z = 1.959963984540054  # of 95 %


@dataclass(frozen=True)
class Decision:
    """One case, decided twice."""

    truth: bool
    without: bool
    with_it: bool


class Rate(Settings):
    """A share with its interval of 95 % (Wilson)."""

    value: float
    low: float
    high: float
    hits: int
    of: int


class Test(Settings):
    """McNemar's exact test: of the cases decided rightly only once, how many were so with it?"""

    better: int = Field(ge=0)  # right with the detector alone
    worse: int = Field(ge=0)  # right without it alone
    p_value: float  # two-sided


class DecisionEffect(Settings):
    """What the detector changed."""

    cases: int
    sensitivity_without: Rate | None  # None: there was nothing to find
    sensitivity_with: Rate | None
    specificity_without: Rate | None  # None: there was something in every case
    specificity_with: Rate | None
    all_cases: Test
    positives: Test
    negatives: Test


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Read a table of decisions.

    Raises:
        ValueError: A column or value is not right, or a case is there twice. Says which line.
        OSError: There is no such file.
    """
    with path.open(newline="", encoding="utf-8-sig") as f:
        reader = csv.DictReader(f)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: expected columns {COLUMNS}, got {reader.fieldnames}")
        rows = list(_rows(path, reader))
    if not rows:
        raise ValueError(f"{path}: no case in it")
    return tuple(rows)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Decision]:
    seen: set[str] = set()
    for line, row in enumerate(reader, start=2):
        values = [row[name] for name in COLUMNS[1:]]
        if any(v not in ("0", "1") for v in values):
            raise ValueError(f"{path}, line {line}: expected 0 or 1, got {values}")
        if row["case"] in seen:
            raise ValueError(f"{path}, line {line}: case {row['case']!r} is there twice")
        seen.add(row["case"])
        yield Decision(*(v == "1" for v in values))


def effect_of(decisions: Sequence[Decision]) -> DecisionEffect:
    """Return what changed, with intervals and tests."""
    positives = [d for d in decisions if d.truth]
    negatives = [d for d in decisions if not d.truth]
    return DecisionEffect(
        cases=len(decisions),
        sensitivity_without=rate(sum(d.without for d in positives), len(positives)),
        sensitivity_with=rate(sum(d.with_it for d in positives), len(positives)),
        specificity_without=rate(sum(not d.without for d in negatives), len(negatives)),
        specificity_with=rate(sum(not d.with_it for d in negatives), len(negatives)),
        all_cases=_tested(decisions),
        positives=_tested(positives),
        negatives=_tested(negatives),
    )


def mcnemar_exact(better: int, worse: int) -> float:
    """Return the two-sided p value: twice the smaller tail of a fair coin, at most 1.

    McNemar (1947), exact form: only the cases that changed tell anything.
    """
    changed = better + worse
    tail = sum(math.comb(changed, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**changed)


def rate(hits: int, of: int) -> Rate | None:
    """Return a share with Wilson's interval; None of nothing."""
    if not of:
        return None
    share, z2 = hits / of, Z**2 / of
    middle = (share + z2 / 2) / (1 + z2)
    half = Z * math.sqrt(share * (1 - share) / of + z2 / of / 4) / (1 + z2)
    return Rate(
        value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), hits=hits, of=of
    )


def _tested(decisions: Sequence[Decision]) -> Test:
    right = [(d.without == d.truth, d.with_it == d.truth) for d in decisions]
    better, worse = right.count((False, True)), right.count((True, False))
    return Test(better=better, worse=worse, p_value=mcnemar_exact(better, worse))
