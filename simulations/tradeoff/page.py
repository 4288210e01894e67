"""Write a study: one HTML page without scripts, and a Markdown table for the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from core_model.evaluation.report.page import write_text
from simulations.tradeoff import plots
from simulations.tradeoff.grid import Corpus
from simulations.tradeoff.result import CellResult
from simulations.tradeoff.summary import Row, on_front, recommend, summarise

HEADERS = (
    "taking identity out", "F1 new people", "gain [95 %]", "best epoch", "F1 new site", "F1 own",
    "AUC new", "probe own", "probe new", "EER new", "verdict",
)  # fmt: skip


def write_study(
    results: Sequence[CellResult], out: Path, command: str, most_probe: float | None
) -> Path:
    """Write ``tradeoff.html``, and its table and first plot by themselves; return the page.

    Args:
        results: Of all cells.
        out: Folder.
        command: What made them.
        most_probe: The probe may name so much of the frames; None: half-way from the plain
            detector's to chance, for each corpus.
    """
    rows = summarise(results)
    sections = [_section(c, rows, most_probe) for c in dict.fromkeys(r.corpus for r in rows)]
    environment = Environment(
        loader=PackageLoader("simulations.tradeoff"), autoescape=True, undefined=StrictUndefined
    )
    plot = plots.identity_against_f1(rows)
    page = environment.get_template("tradeoff.html").render(
        command=command,
        sections=sections,
        headers=HEADERS,
        plot=plot,
        minutes=sum(r.seconds for r in results) / 60,
        always=sum(r.always for r in results) / len(results),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "tradeoff.html", page)
    write_text(out / "tradeoff.md", _markdown(sections))
    write_text(out / "tradeoff.svg", plot)
    return out / "tradeoff.html"


def limit_of(rows: Sequence[Row]) -> float | None:
    """Return the probe half-way between the plain detector's and chance; None without a plain."""
    plain = next((r for r in rows if not r.method.scale), None)
    return None if plain is None else (plain.probe_own + plain.chance_own) / 2


def _section(corpus: Corpus, rows: Sequence[Row], most_probe: float | None) -> dict[str, object]:
    mine = [r for r in rows if r.corpus == corpus]
    limit = most_probe if most_probe is not None else limit_of(mine)
    chosen = None if limit is None else recommend(mine, limit)
    return {
        "corpus": corpus.name,
        "rows": [_texts(r) for r in mine],
        "front": [on_front(r, rows) for r in mine],
        "limit": limit,
        "chance": mine[0].chance_own,
        "labels_probe": mine[0].labels_probe,
        "chosen": None if chosen is None else _texts(chosen),
        "plot": plots.by_epoch(mine),
    }


def _texts(row: Row) -> tuple[str, ...]:
    g = row.gain
    gain = "" if g is None else f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]"
    values = (
        row.f1_best_epoch, row.f1_new_site, row.f1_own, row.auc_new_people, row.probe_own,
        row.probe_new, row.equal_error_rate,
    )  # fmt: skip
    numbers = (f"{v:.3f}" for v in values)
    return (row.method.name, f"{row.f1_new_people:.3f}", gain, *numbers, row.verdict)


def _markdown(sections: Sequence[dict[str, object]]) -> str:
    lines = []
    for s in sections:
        lines += [f"**{s['corpus']}**", "", f"| {' | '.join(HEADERS)} |", "|---" * 11 + "|"]
        rows = s["rows"]
        assert isinstance(rows, list)
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
        lines += [f"The labels alone: {s['labels_probe']:.3f}; chance: {s['chance']:.3f}.", ""]
    return "\n".join(lines)
