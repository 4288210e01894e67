"""The plots of a study, as SVG text that a page can hold."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from core_model.evaluation.report.plots import CLEAN, GREY, INK, PAPER, new_figure, svg
from simulations.tradeoff.grid import Corpus
from simulations.tradeoff.summary import Row

COLOURS = (CLEAN, PAPER, "#3f7d4e", "#8a6d2f", "#6b4a8c", GREY)


def identity_against_f1(rows: Sequence[Row]) -> str:
    """Return F1 on new people against how often a probe names the people trained on."""
    figure, axes = new_figure(7.6, 4.4)
    for colour, corpus in zip(_colours(len(rows)), _corpora(rows), strict=False):
        mine = [r for r in rows if r.corpus == corpus]
        line = sorted((r for r in mine if _is_main(r)), key=lambda r: r.method.scale)
        axes.plot(
            [r.probe_own for r in line], [r.f1_new_people for r in line], "-", color=colour,
            linewidth=1, label=corpus.name,
        )  # fmt: skip
        for r in mine:
            axes.plot(r.probe_own, r.f1_new_people, "o" if _is_main(r) else "s", color=colour)
            text = f"{r.method.scale:g}" if _is_main(r) else r.method.name
            axes.annotate(
                text, (r.probe_own, r.f1_new_people), xytext=(6, 5), textcoords="offset points",
                fontsize=8,
            )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_xlabel("identity probe on the people trained on (share of frames named rightly)")
    axes.set_ylabel("F1 on new people, last epoch")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return svg(figure)


def by_epoch(rows: Sequence[Row]) -> str:
    """Return F1 on new people after each epoch, of every method on one corpus."""
    figure, axes = new_figure(7.6, 3.8)
    for colour, row in zip(_colours(len(rows)), rows, strict=False):
        epochs = range(1, len(row.curve) + 1)
        width = 2.0 if not row.method.scale else 1.2
        style = "-" if _is_main(row) else "--"
        colour = colour if row.method.scale else INK
        axes.plot(epochs, row.curve, style, color=colour, linewidth=width, label=row.method.name)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("F1 on new people")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return svg(figure)


def _is_main(row: Row) -> bool:
    """Is it of the series over scales: relative, cross-entropy, linear head?"""
    m = row.method
    return not m.scale or (m.reversal, m.identity_loss, m.identity_head_layers) == (
        "relative", "ce", 1,
    )  # fmt: skip


def _corpora(rows: Sequence[Row]) -> list[Corpus]:
    return list(dict.fromkeys(r.corpus for r in rows))


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
