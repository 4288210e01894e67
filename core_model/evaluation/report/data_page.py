"""Write a data report: JSON and one HTML page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core_model.evaluation.data_result import DataReport
from core_model.evaluation.report.page import render, write_text
from core_model.evaluation.report.plots import (
    CLEAN,
    INK,
    PAPER,
    company_map,
    new_figure,
    svg,
)


def write_data_report(report: DataReport, out: Path) -> Path:
    """Write ``data.json`` and ``data.html``; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "data.json", report.model_dump_json(indent=2) + "\n")
    known = [f for f in report.action_units if f.base_rate is not None]
    page = render(
        "data.html",
        r=report,
        rate_plot=rate_plot(report) if known else None,
        shortcut_plot=shortcut_plot(report) if report.shortcut_auc is not None else None,
        together_plot=company_map(
            [f.au for f in report.action_units], report.co_occurrence, "Blues"
        )
        if known
        else None,
    )
    write_text(out / "data.html", page)
    return out / "data.html"


def rate_plot(report: DataReport) -> str:
    """Return how often each AU occurs, and how far people differ in it."""
    figure, axes = new_figure(9.2, 3.2)
    places = range(len(report.action_units))
    rates = [f.base_rate or 0 for f in report.action_units]
    axes.bar(places, rates, 0.7, color=CLEAN, label="share of known frames")
    for x, f in enumerate(report.action_units):
        if f.least_rate is not None and f.most_rate is not None:
            axes.vlines(
                x, f.least_rate, f.most_rate, colors=INK, linewidth=1.2,
                label="" if x else "from the person with least to the one with most",
            )  # fmt: skip
    axes.set_xticks(places, [f"AU{f.au}" for f in report.action_units])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of frames")
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return svg(figure)


def shortcut_plot(report: DataReport) -> str:
    """Return how well each AU is predicted by who it is alone."""
    figure, axes = new_figure(9.2, 2.8)
    values = [np.nan if f.shortcut_auc is None else f.shortcut_auc for f in report.action_units]
    places = range(len(values))
    axes.bar(places, np.array(values) - 0.5, 0.7, bottom=0.5, color=PAPER)
    axes.axhline(0.5, color=INK, linestyle="--", linewidth=1)
    axes.set_xticks(places, [f"AU{f.au}" for f in report.action_units])
    axes.set_ylim(min(0.3, float(np.nanmin(values)) - 0.05), 1)
    axes.set_ylabel("AUC from identity alone")
    return svg(figure)
