"""What each choice of identity head costs and brings, as JSON and as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core_model.privacy.plan import IdentityHead, Scope
from simulations.privacy_cell import CellResult
from simulations.privacy_identity import Identity
from simulations.results import ScoreResult

_COLUMNS = (
    "scope", "IAT in public", "epsilon", "head, reversal", "F1, new people", "against none",
    "people of a site named", "new people named", "against none", "equal error rate, new people",
    "the head names", "ms a step",
)  # fmt: skip


class Row(NamedTuple):
    """Cells that differ in the seed only."""

    scope: Scope
    has_iat: bool
    epsilon: float
    head: IdentityHead | None
    scale: float


def write_heads(results: Sequence[CellResult], command: str, machine: str, out: Path) -> Path:
    """Write ``heads.json`` and ``heads.md``; return the table's path."""
    out.mkdir(parents=True, exist_ok=True)
    found = [json.loads(r.model_dump_json()) for r in results]
    (out / "heads.json").write_text(json.dumps({"machine": machine, "cells": found}, indent=1))
    path = out / "heads.md"
    path.write_text("\n".join(_page(results, command, machine)) + "\n", encoding="utf-8")
    return path


def _page(results: Sequence[CellResult], command: str, machine: str) -> list[str]:
    seeds = sorted({r.cell.seed for r in results})
    return [
        "# What each identity head of a private phase costs, and what it brings",
        "",
        f"Made by `{command}` on {machine}; seeds {', '.join(map(str, seeds))}. Generated people.",
        "Means over the seeds; in brackets the lowest and the highest end of the 95 % intervals by",
        "person, or of the differences by seed. Named: frames that a converged linear probe gives",
        "to the right person. Epsilon at delta 1e-5; inf: clipped without noise. Reversal: length",
        "of the reversed gradient, in lengths of the AUs'. A step: the fewest processor",
        "milliseconds of a seed.",
        "",
        *_before(results),
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
        *(_line(row, results) for row in dict.fromkeys(_of(r) for r in results)),
    ]


def _before(results: Sequence[CellResult]) -> Iterator[str]:
    for has_iat in sorted({r.cell.has_iat for r in results}):
        first = next(r for r in results if r.cell.has_iat == has_iat)
        before = first.identity_public
        assert before is not None
        yield (
            f"The public model {'with' if has_iat else 'without'} IAT: F1 {first.f1_public:.3f}; "
            f"named {_percent(before.site)} of the people of a site, {_percent(before.new)} of new "
            f"people (chance {before.chance:.1%}); equal error rate "
            f"{before.equal_error_rate.value:.3f}; the frozen head names {before.by_head:.0%} of "
            "the public people."
        )


def _line(row: Row, results: Sequence[CellResult]) -> str:
    own = [r for r in results if _of(r) == row]
    without = [r for r in results if _of(r) == row._replace(head="none", scale=1.0)]
    by_head = [r.by_head for r in map(_identity, own) if r.by_head is not None]
    is_none = row.head == "none"
    cells = (
        row.scope, "yes" if row.has_iat else "no", f"{row.epsilon:g}",
        "none" if is_none else f"{row.head}, {row.scale:g} x",
        f"{np.mean([r.f1 for r in own]):.3f} "
        f"({min(r.low for r in own):.3f}-{max(r.high for r in own):.3f})",
        "" if is_none else _difference(own, without, lambda r: r.f1, "+.3f"),
        _over([_identity(r).site for r in own], ".0%"),
        _over([_identity(r).new for r in own], ".0%"),
        "" if is_none else _difference(own, without, lambda r: _identity(r).new.value, "+.1%"),
        _over([_identity(r).equal_error_rate for r in own], ".3f"),
        f"{np.mean(by_head):.0%}" if by_head else "",
        f"{1000 * min(r.step_s or 0.0 for r in own):.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _difference(
    own: Sequence[CellResult],
    without: Sequence[CellResult],
    figure: Callable[[CellResult], float],
    style: str,
) -> str:
    """Return how far cells are from those without a head, seed by seed."""
    base = {r.cell.seed: figure(r) for r in without}
    gaps = [figure(r) - base[r.cell.seed] for r in own if r.cell.seed in base]
    if not gaps:
        return ""
    return f"{np.mean(gaps):{style}} ({min(gaps):{style}} to {max(gaps):{style}})"


def _over(shares: Sequence[ScoreResult], style: str) -> str:
    mean, low = np.mean([s.value for s in shares]), min(s.low for s in shares)
    return f"{mean:{style}} ({low:{style}}-{max(s.high for s in shares):{style}})"


def _percent(share: ScoreResult) -> str:
    return _over([share], ".0%")


def _identity(result: CellResult) -> Identity:
    assert result.identity is not None
    return result.identity


def _of(result: CellResult) -> Row:
    cell = result.cell
    return Row(cell.scope, cell.has_iat, cell.epsilon, cell.identity_head, cell.reversal_scale)
