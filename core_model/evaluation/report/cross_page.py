"""Write a cross-dataset table: JSON, CSV and one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core_model.evaluation.cross import CrossResult
from core_model.evaluation.report.page import render, write_text
from core_model.evaluation.report.tables import write_csv

COLUMNS = (
    "model", "people", "au", "measure", "value", "low", "high", "num_people", "threshold",
)  # fmt: skip


def write_cross(result: CrossResult, out: Path) -> Path:
    """Write ``cross.json``, ``cross.csv`` and ``cross.html``; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "cross.json", result.model_dump_json(indent=2) + "\n")
    write_csv(out / "cross.csv", COLUMNS, _rows(result))
    cells = {(c.model, c.people): c for c in result.cells}
    sets = list(dict.fromkeys(c.people for c in result.cells))
    write_text(out / "cross.html", render("cross.html", result=result, cells=cells, sets=sets))
    return out / "cross.html"


def _rows(result: CrossResult) -> Iterator[tuple[object, ...]]:
    for cell in result.cells:
        groups = {"macro": cell.macro} | {f"AU{au}": m for au, m in cell.per_au.items()}
        for au, measures in groups.items():
            for name, m in measures.items():
                threshold = result.threshold if name == "f1" else None
                yield (
                    cell.model, cell.people, au, name, m.value, m.low, m.high, cell.num_people,
                    threshold,
                )  # fmt: skip
