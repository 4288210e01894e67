"""The plots of an evaluation, as SVG text that a page can hold."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.result import (
    Company,
    EpochRow,
    EvaluationResult,
    Measure,
    Person,
    ProtocolResult,
    Reliability,
)

CLEAN, PAPER, GREY, INK = "#2f6f8f", "#b8504b", "#8a8f98", "#1c2430"
COLOURS = {"clean": CLEAN, "paper": PAPER}
LABELS = {"clean": "clean", "paper": "paper (chosen on the people tested on)"}


def f1_by_au(result: EvaluationResult) -> str:
    """Return F1 of each AU with intervals by subject, and what saying 'always' gets."""
    figure, axes = new_figure(9.2, 3.4)
    aus = result.action_units
    always: dict[int, float] = {}
    names = list(result.protocols)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        protocol = result.protocols[name]
        always = protocol.always_f1
        places = [x + (i - (len(names) - 1) / 2) * width for x in range(len(aus))]
        scores = [protocol.per_au[au]["f1"] for au in aus]
        axes.bar(
            places, [m.value or 0 for m in scores], width * 0.94, color=COLOURS[name],
            label=LABELS[name],
        )  # fmt: skip
        error_bars(axes, places, scores)
    for x, au in enumerate(aus):
        axes.hlines(
            always[au], x - 0.45, x + 0.45, colors=INK, linestyles="--", linewidth=1,
            label="" if x else "saying 'always'",
        )  # fmt: skip
    axes.set_xticks(range(len(aus)), [f"AU{au}" for au in aus])
    axes.set_ylim(0, 1)
    axes.set_ylabel("F1")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return svg(figure)


def epochs(rows: Sequence[EpochRow]) -> str:
    """Return macro F1 over the epochs, under both ways to choose a threshold."""
    figure, axes = new_figure(6.4, 3.0)
    numbers = [r.epoch for r in rows]
    clean = [_or_nan(r.validation_threshold) for r in rows]
    swept = [_or_nan(r.test_swept) for r in rows]
    axes.plot(numbers, clean, "o-", color=CLEAN, markersize=3.5, label="clean threshold")
    axes.plot(
        numbers, swept, "o-", color=PAPER, markersize=3.5, label="threshold swept on test people"
    )
    axes.plot(numbers[-1], clean[-1], "o", color=CLEAN, markersize=9, fillstyle="none")
    best = int(np.nanargmax(swept))
    axes.plot(numbers[best], swept[best], "o", color=PAPER, markersize=9, fillstyle="none")
    axes.set_xlabel("epoch (rings: the ones reported)")
    axes.set_ylabel("macro F1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return svg(figure)


def reliability(curves: dict[int, Reliability], protocol: ProtocolResult) -> str:
    """Return observed against predicted share, a small plot for each AU."""
    columns = min(6, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure((1.6 * columns + 0.4, 1.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    for axes, (au, curve) in zip(grid.flat, curves.items(), strict=False):
        used = [i for i, n in enumerate(curve.num_frames) if n]
        most = max(curve.num_frames)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        axes.plot(
            [curve.mean_probability[i] for i in used], [curve.share_occurring[i] for i in used],
            "-", color=CLEAN, linewidth=0.9,
        )  # fmt: skip
        axes.scatter(
            [curve.mean_probability[i] for i in used], [curve.share_occurring[i] for i in used],
            s=[4 + 40 * curve.num_frames[i] / most for i in used], color=CLEAN, zorder=3,
        )  # fmt: skip
        error = protocol.per_au[au]["calibration_error"].value
        axes.set_title(f"AU{au}, error {_or_nan(error):.2f}", fontsize=8.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("predicted probability", fontsize=9)
    figure.supylabel("share that occurs", fontsize=9)
    return svg(figure)


def company_map(aus: Sequence[int], table: Sequence[Sequence[float | None]], colour: str) -> str:
    """Return a heat map: rows the AU asked for, columns the other AU in the frame."""
    values: Floats = np.array([[_or_nan(v) for v in row] for row in table])
    side = 0.42 * len(aus) + 1.1
    figure, axes = new_figure(max(side, 3.6), max(side - 0.3, 3.3))
    image = axes.imshow(values, vmin=0, vmax=1, cmap=colour)
    ticks = [f"AU{au}" for au in aus]
    axes.set_xticks(range(len(aus)), ticks, rotation=60, fontsize=8)
    axes.set_yticks(range(len(aus)), ticks, fontsize=8)
    axes.set_xlabel("other AU in the frame (diagonal: any frame)", fontsize=8.5)
    axes.set_ylabel("AU asked for", fontsize=8.5)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5,
                color="white" if value > 0.55 else INK,
            )  # fmt: skip
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.75).ax.tick_params(labelsize=7)
    return svg(figure)


def by_others(protocols: dict[str, Company]) -> str:
    """Return macro F1 by how many other AUs are in the frame."""
    figure, axes = new_figure(4.6, 3.0)
    for name, company in protocols.items():
        x = range(len(company.f1_by_others))
        axes.plot(
            x, [_or_nan(v) for v in company.f1_by_others], "o-", color=COLOURS[name],
            label=LABELS[name], markersize=4,
        )  # fmt: skip
        last = len(company.f1_by_others) - 1
        axes.set_xticks(list(x), [str(i) if i < last else f"{i}+" for i in x])
    axes.set_ylim(0, 1)
    axes.set_xlabel("other AUs in the frame")
    axes.set_ylabel("macro F1")
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return svg(figure)


def by_person(people: Sequence[Person], macro: Measure) -> str:
    """Return F1 of every person, worst first."""
    figure, axes = new_figure(max(4.5, min(9.2, 0.22 * len(people) + 1.5)), 2.8)
    axes.bar([p.number for p in people], [p.f1 or 0 for p in people], 0.8, color=CLEAN)
    if macro.value is not None:
        axes.axhline(macro.value, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            "all frames", (1, macro.value), xytext=(0, 3), textcoords="offset points", fontsize=8
        )
    axes.set_xlabel("people, worst first")
    axes.set_ylabel("macro F1")
    axes.set_ylim(0, 1)
    return svg(figure)


def error_bars(axes: Axes, places: Sequence[float], scores: Sequence[Measure]) -> None:
    """Draw the intervals of measures that have one."""
    for x, m in zip(places, scores, strict=True):
        if m.value is not None and m.low is not None and m.high is not None:
            axes.vlines(x, m.low, m.high, colors=INK, linewidth=0.9)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one plain plot; sizes in inches."""
    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Figure) -> str:
    """Return a figure as SVG text; equal figures give equal text."""
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "omote", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
