"""Results as CSV: one figure a line, with what must be known to read it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from core_model.evaluation.result import EvaluationResult, Measure

COLUMNS = (
    "model", "people", "protocol", "epoch", "threshold_policy", "au", "measure", "value", "low",
    "high", "num_people", "warning",
)  # fmt: skip


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table; numbers with six digits, what is undefined as an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(list(columns))
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def evaluation_rows(result: EvaluationResult) -> Iterator[tuple[object, ...]]:
    """Yield every measure of every protocol, of each AU and of their mean ('macro')."""
    for name, protocol in result.protocols.items():
        groups = {"macro": protocol.macro} | {
            f"AU{au}": measures for au, measures in protocol.per_au.items()
        }
        for au, measures in groups.items():
            for measure_name, m in measures.items():
                uses_threshold = measure_name == "f1"
                yield (
                    result.model.name, result.data.name, name, protocol.epoch,
                    protocol.threshold_policy if uses_threshold else "", au, measure_name,
                    *_values(m), result.data.num_people, protocol.warning or "",
                )  # fmt: skip


def _values(m: Measure) -> tuple[float | None, float | None, float | None]:
    return m.value, m.low, m.high


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)
