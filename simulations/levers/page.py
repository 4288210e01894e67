"""Write the study of levers: one HTML page without scripts, a Markdown table, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from core_model.evaluation.report.page import write_text
from core_model.evaluation.report.plots import CLEAN, GREY, INK, PAPER, new_figure, svg
from simulations.levers.result import LeverCellResult
from simulations.levers.study import LeverRow, summarise

HEADERS = (
    "lever", "F1 new site [95 %]", "gain [95 %]", "p", "gain by seed", "AUC new site",
    "F1 new people", "probe, features", "probe, logits", "EER", "seconds", "verdict",
)  # fmt: skip
COLOURS = {"helps": "#3f7d4e", "hurts": PAPER, "no difference shown": GREY, "reference": CLEAN}


def write_study(results: Sequence[LeverCellResult], out: Path, command: str) -> Path:
    """Write ``levers.html``, ``levers.md`` and ``levers.svg``; return the page."""
    rows = summarise(results)
    plot = svg(gains(rows))
    environment = Environment(
        loader=PackageLoader("simulations.levers"), autoescape=True, undefined=StrictUndefined
    )
    facts = results[0].cell
    page = environment.get_template("levers.html").render(
        command=command,
        headers=HEADERS,
        rows=[texts(r) for r in rows],
        plot=plot,
        base=facts.base,
        site_people=facts.site_people,
        pool_people=facts.pool_people,
        seeds=sorted({r.cell.base.seed for r in results}),
        minutes=sum(r.seconds for r in results) / 60,
        always=sum(r.always for r in results) / len(results),
        chance=rows[0].chance,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "levers.html", page)
    write_text(out / "levers.md", markdown(rows))
    write_text(out / "levers.svg", plot)
    return out / "levers.html"


def texts(row: LeverRow) -> tuple[str, ...]:
    """Return a row as words."""
    f1, g = row.f1_new_site, row.gain
    return (
        row.name,
        f"{f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}]",
        "" if g is None else f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]",
        "" if row.p_value is None else f"{row.p_value:.4f}",
        "" if g is None else " ".join(f"{v:+.3f}" for v in row.by_seed),
        f"{row.auc_new_site:.3f}",
        f"{row.f1_new_people:.3f}",
        f"{row.probe_features:.3f}",
        f"{row.probe_logits:.3f}",
        f"{row.equal_error_rate:.3f}",
        f"{row.seconds:.0f}",
        row.verdict,
    )


def markdown(rows: Sequence[LeverRow]) -> str:
    """Return the table for the docs."""
    lines = [f"| {' | '.join(HEADERS)} |", "|---" * len(HEADERS) + "|"]
    lines += [f"| {' | '.join(texts(row))} |" for row in rows]
    return "\n".join([*lines, "", f"Chance of the probes: {rows[0].chance:.3f}.", ""])


def gains(rows: Sequence[LeverRow]) -> Figure:
    """Return the gain of each lever with its interval, and as dots that of each seed."""
    figure, axes = new_figure(7.6, 0.42 * len(rows) + 1.0)
    pulled = [r for r in rows if r.gain is not None][::-1]
    axes.axvline(0, color=INK, linewidth=1)
    for y, row in enumerate(pulled):
        assert row.gain is not None
        colour = COLOURS[row.verdict]
        axes.plot([row.gain.low, row.gain.high], [y, y], "-", color=colour, linewidth=3, alpha=0.5)
        axes.plot(row.gain.value, y, "o", color=colour, markersize=7)
        axes.plot(row.by_seed, [y] * len(row.by_seed), "|", color=INK, markersize=9)
    axes.set_yticks(range(len(pulled)), [r.name for r in pulled])
    axes.set_xlabel("gain in F1, new people of the new site (bar: 95 %; ticks: seeds)")
    return figure
