"""The comparison as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulations.aggregators.cell import SETTINGS, WAYS, CellResult

HEADERS = {
    "labels": "other AUs",
    "people": "unlike people",
    "scaled": "one x 20",
    "flipped": "one x -5",
}


def write_page(
    results: Sequence[CellResult], starts: Sequence[float], command: str, machine: str, path: Path
) -> None:
    """Write the table: macro AUC, the mean over seeds and how far these lie apart."""
    seeds = sorted({r.seed for r in results})
    norms = [r.honest_norm for r in results if r.way == "mean"]
    lines = [
        f"Made by `{command}` on {machine}; seeds {', '.join(map(str, seeds))}. Macro AUC on",
        "people of no site; after +- half the distance between the seeds.",
        f"Every run starts from a model of other people at {np.mean(starts):.3f}.",
        f"An honest change in the first round had a norm of {min(norms):.1f} to {max(norms):.1f}.",
        "",
        "| | " + " | ".join(HEADERS[s] for s in SETTINGS) + " |",
        "|---" * (1 + len(SETTINGS)) + "|",
    ]
    for way in WAYS:
        cells = []
        for setting in SETTINGS:
            values = [r.auc for r in results if (r.way, r.setting) == (way, setting)]
            spread = f" +- {np.ptp(values) / 2:.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
