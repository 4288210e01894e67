"""The attacks as one HTML page without scripts, and as a Markdown table for the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from core_model.evaluation.attack_result import AttackResult, AttackResults, Row
from core_model.evaluation.report.page import write_text

WIDTH = 220  # of a bar, in pixels


def write_page(results: Sequence[AttackResult], out: Path, command: str, machine: str) -> Path:
    """Write ``attacks.html``, ``attacks.md`` and ``attacks.json``; return the page."""
    environment = Environment(
        loader=PackageLoader("simulations.attacks"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("attacks.html").render(
        results=results, command=command, machine=machine, number=number, bar=bar, width=WIDTH,
        verdict=verdict,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "attacks.html", page)
    found = AttackResults(command=command, machine=machine, results=tuple(results))
    write_text(out / "attacks.json", found.model_dump_json(indent=1) + "\n")
    write_text(out / "attacks.md", "\n".join(table(results)) + "\n")
    return out / "attacks.html"


def table(results: Sequence[AttackResult]) -> list[str]:
    """Return all rows as lines of Markdown; baselines are in bold."""
    lines = ["| attack | against | measure | value [95 %] | chance |", "|---|---|---|---|---|"]
    for result in results:
        for row in result.rows:
            value = f"**{number(row)}**" if row.is_baseline else number(row)
            lines.append(
                f"| {result.attack} | {row.against} | {row.measure} | {value} | {row.chance:.3g} |"
            )
    return lines


def number(row: Row) -> str:
    """Return a value with its interval."""
    digits = 1 if "dB" in row.measure else 3
    if row.low is None or row.high is None:
        return f"{row.value:.{digits}f}"
    return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def verdict(row: Row) -> str:
    """Say what a row shows."""
    if row.is_baseline:
        return "works, undefended" if row.has_succeeded else "FAILED undefended: rows say nothing"
    if row.is_reference:
        return "works, undefended" if row.has_succeeded else "fails, undefended"
    return "leaks" if row.has_succeeded else "no leak shown"


def bar(row: Row, result: AttackResult) -> dict[str, float]:
    """Return where value, interval and chance lie on a bar, in pixels."""
    same = [r for r in result.rows if r.measure == row.measure]
    top = max([1e-9, *(v for r in same for v in (r.value, r.high or 0.0, r.chance))])

    def place(value: float) -> float:
        return round(min(max(value / top, 0.0), 1.0) * WIDTH, 1)

    low = row.value if row.low is None else row.low
    high = row.value if row.high is None else row.high
    return {
        "value": place(row.value), "low": place(low), "high": place(high),
        "chance": place(row.chance),
    }  # fmt: skip
