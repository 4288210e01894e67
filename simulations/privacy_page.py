"""The curve as JSON, as a Markdown table and as a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from simulations.privacy_cell import CellResult


class Line(NamedTuple):
    """Cells that differ in epsilon and seed only."""

    scope: str
    has_iat: bool
    people: int
    sites: int

    @property
    def label(self) -> str:
        """Text of the legend."""
        iat = "IAT" if self.has_iat else "no IAT"
        return f"{self.scope}, {iat}, {self.people} people, {self.sites} sites"


def write_curve(results: Sequence[CellResult], command: str, machine: str, out: Path) -> Path:
    """Write ``curve.json``, ``curve.md`` and ``curve.svg``; return the table's path."""
    out.mkdir(parents=True, exist_ok=True)
    found = [json.loads(r.model_dump_json()) for r in results]
    (out / "curve.json").write_text(json.dumps({"machine": machine, "cells": found}, indent=1))
    path = out / "curve.md"
    path.write_text("\n".join(_table(results, command, machine)), encoding="utf-8")
    _plot(results).savefig(out / "curve.svg", format="svg", metadata={"Date": None})
    return path


def _table(results: Sequence[CellResult], command: str, machine: str) -> list[str]:
    epsilons = sorted({r.cell.epsilon for r in results})
    seeds = sorted({r.cell.seed for r in results})
    public = {r.cell.has_iat: r.f1_public for r in results}
    before = "; ".join(
        f"{'with' if iat else 'without'} IAT {f1:.3f}" for iat, f1 in sorted(public.items())
    )
    return [
        "# Macro F1 on new people against epsilon of a person",
        "",
        f"Made by `{command}` on {machine}; seeds {', '.join(map(str, seeds))}. Generated people.",
        "Mean over the seeds; in brackets the lowest and the highest end of the 95 % intervals by",
        "person. Epsilon at delta 1e-5, one person added or removed; inf: clipped without noise.",
        "",
        f"Before the private phase, after the public one: {before}.",
        "",
        "| scope | IAT in public | people a site | sites | "
        + " | ".join(f"epsilon {e:g}" for e in epsilons)
        + " |",
        "|---|---|---|---|" + "---|" * len(epsilons),
        *(_row(line, results, epsilons) for line in _lines(results)),
        "",
    ]


def _row(line: Line, results: Sequence[CellResult], epsilons: Sequence[float]) -> str:
    iat = "yes" if line.has_iat else "no"
    own = [r for r in results if _of(r) == line]
    values = [_value([r for r in own if r.cell.epsilon == e]) for e in epsilons]
    return f"| {line.scope} | {iat} | {line.people} | {line.sites} | {' | '.join(values)} |"


def _value(cells: Sequence[CellResult]) -> str:
    if not cells:
        return ""
    mean = np.mean([c.f1 for c in cells])
    return f"{mean:.3f} ({min(c.low for c in cells):.3f}-{max(c.high for c in cells):.3f})"


def _plot(results: Sequence[CellResult]) -> Figure:
    figure = Figure((8.0, 4.6), layout="constrained")
    axes = figure.add_subplot()
    epsilons = sorted({r.cell.epsilon for r in results})
    for line in _lines(results):
        points = [
            (k, [r.f1 for r in results if _of(r) == line and r.cell.epsilon == e])
            for k, e in enumerate(epsilons)
        ]
        drawn = [(k, float(np.mean(f1))) for k, f1 in points if f1]
        axes.plot(*zip(*drawn, strict=True), marker="o", linewidth=1, label=line.label)
    for has_iat, f1 in sorted({r.cell.has_iat: r.f1_public for r in results}.items()):
        label = f"public phase alone, {'IAT' if has_iat else 'no IAT'}"
        axes.axhline(f1, linestyle="--" if has_iat else ":", color="#8a8f98", label=label)
    axes.set_xticks(range(len(epsilons)), [f"{e:g}" if math.isfinite(e) else "∞" for e in epsilons])
    axes.set_xlabel("epsilon of a person, delta 1e-5")
    axes.set_ylabel("macro F1, new people")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


def _lines(results: Sequence[CellResult]) -> list[Line]:
    return sorted({_of(r) for r in results})


def _of(result: CellResult) -> Line:
    cell = result.cell
    return Line(cell.scope, cell.has_iat, cell.people, cell.sites)
