"""The curve as JSON, as a Markdown table and as a plot."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from simulations.privacy_cell import CellResult

_TITLES = {
    "scope": "which weights train", "iat": "IAT in the public phase", "people": "people a site",
    "sites": "sites",
}  # fmt: skip


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
    """Write ``curve.json``, ``curve.md`` and the plots ``curve-*.svg``; return the table's path."""
    out.mkdir(parents=True, exist_ok=True)
    found = [json.loads(r.model_dump_json()) for r in results]
    (out / "curve.json").write_text(json.dumps({"machine": machine, "cells": found}, indent=1))
    path = out / "curve.md"
    path.write_text("\n".join(_table(results, command, machine)), encoding="utf-8")
    for setting, lines in _plots(results).items():
        figure = _plot([r for r in results if _of(r) in lines], setting)
        figure.savefig(out / f"curve-{setting}.svg", format="svg", metadata={"Date": None})
    return path


def _table(results: Sequence[CellResult], command: str, machine: str) -> list[str]:
    epsilons = sorted({r.cell.epsilon for r in results})
    seeds = sorted({r.cell.seed for r in results})
    public = {r.cell.has_iat: r.f1_public for r in results}
    always = results[0].f1_always
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
        f"Without a federation: the public model {before}; every AU, always, {always:.3f}.",
        "**Bold**: better than the public model that it started from with every seed.",
        "",
        "| scope | IAT in public | people a site | sites | "
        + " | ".join(f"epsilon {e:g}" for e in epsilons)
        + " |",
        "|---|---|---|---|" + "---|" * len(epsilons),
        *(_row(line, results, epsilons) for line in _lines(results)),
        "",
        *_usefulness(results),
    ]


def _usefulness(results: Sequence[CellResult]) -> list[str]:
    found = useful_from(results)
    if not found:
        return []
    told = [
        f"epsilon {e:g}: {f'from {people} on' if people else 'at no number tried'}"
        for e, people in found.items()
    ]
    meant = "(better with every seed, and by half or more of what it gains without noise)"
    return [
        f"From how many people a site on the private phase is useful {meant}:",
        "; ".join(told),
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
    text = f"{mean:.3f}"
    if all(c.f1 > c.f1_public for c in cells):
        text = f"**{text}**"
    return f"{text} ({min(c.low for c in cells):.3f}-{max(c.high for c in cells):.3f})"


def useful_from(results: Sequence[CellResult]) -> dict[float, int | None]:
    """Return, by epsilon, from how many people a site on the private phase is useful.

    Among the cells that differ in people alone: the least number from which on every seed beats the
    public model, and the mean gains at least half of what it gains without noise. None: no number
    that was tried.
    """
    of_people = [r for r in results if _of(r) in _plots(results).get("people", ())]
    found: dict[float, int | None] = {}
    for epsilon in sorted({r.cell.epsilon for r in of_people}):
        found[epsilon] = None
        for people in sorted({r.cell.people for r in of_people}, reverse=True):
            cells = [r for r in of_people if (r.cell.epsilon, r.cell.people) == (epsilon, people)]
            free = [r for r in of_people if r.cell.people == people and r.cell.epsilon == math.inf]
            if not cells or any(r.f1 <= r.f1_public for r in cells):
                break
            if free and _gain(cells) < _gain(free) / 2:
                break
            found[epsilon] = people
    return found


def _gain(cells: Sequence[CellResult]) -> float:
    return float(np.mean([r.f1 - r.f1_public for r in cells]))


def _plots(results: Sequence[CellResult]) -> dict[str, list[Line]]:
    """Return the lines of each plot: those that differ in one setting from the commonest line."""
    lines = _lines(results)
    middle = Line(*(Counter(values).most_common(1)[0][0] for values in zip(*lines, strict=True)))
    plots = {}
    for k, setting in enumerate(("scope", "iat", "people", "sites")):
        rest = [n for n in range(len(middle)) if n != k]
        own = [line for line in lines if all(line[n] == middle[n] for n in rest)]
        if len(own) > 1:
            plots[setting] = own
    return plots or {"scope": lines}


def _plot(results: Sequence[CellResult], setting: str) -> Figure:
    figure = Figure((7.0, 4.0), layout="constrained")
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
    axes.axhline(results[0].f1_always, linestyle="-.", color="#c08a3e", label="every AU, always")
    axes.set_xticks(range(len(epsilons)), [f"{e:g}" if math.isfinite(e) else "∞" for e in epsilons])
    axes.set_xlabel("epsilon of a person, delta 1e-5")
    axes.set_ylabel("macro F1, new people")
    axes.set_title(f"varied: {_TITLES[setting]}", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


def _lines(results: Sequence[CellResult]) -> list[Line]:
    return sorted({_of(r) for r in results})


def _of(result: CellResult) -> Line:
    cell = result.cell
    return Line(cell.scope, cell.has_iat, cell.people, cell.sites)
