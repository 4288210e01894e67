"""Write a pilot's report: JSON and one HTML page."""

from __future__ import annotations

from pathlib import Path

from core_model.evaluation.pilot import PilotReport
from core_model.evaluation.report.page import render, write_text
from core_model.evaluation.report.plots import CLEAN, INK, error_bars, new_figure, svg


def write_pilot_report(report: PilotReport, out: Path) -> Path:
    """Write ``pilot.json`` and ``pilot.html``; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "pilot.json", report.model_dump_json(indent=2) + "\n")
    write_text(out / "pilot.html", render("pilot.html", r=report, f1_plot=_f1_plot(report)))
    return out / "pilot.html"


def _f1_plot(report: PilotReport) -> str:
    figure, axes = new_figure(9.2, 3.0)
    detector = report.detector
    places = range(len(detector.f1))
    scores = list(detector.f1.values())
    axes.bar(places, [s.value or 0 for s in scores], 0.6, color=CLEAN, label="F1")
    error_bars(axes, places, scores)
    for x, au in enumerate(detector.f1):
        axes.hlines(
            detector.always_f1[au], x - 0.4, x + 0.4, colors=INK, linestyles="--", linewidth=1.2,
            label="" if x else "always saying yes",
        )  # fmt: skip
    axes.set_xticks(places, [f"AU{au}" for au in detector.f1])
    axes.set_ylim(0, 1)
    axes.set_ylabel("F1")
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return svg(figure)
