"""The plots of the report, as SVG text that a page can hold. Labels stay text, in any language."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulations.results import ArmResult, Results

WITHOUT_COLOUR, WITH_COLOUR, GREY = "#b8504b", "#2f6f8f", "#8a8f98"


def f1_by_au(results: Results, without: str, with_: str, texts: Mapping[str, str]) -> str:
    """Return F1 of each AU on new people, with intervals by person, with and without IAT."""
    figure, axes = _figure(9.2, 3.2)
    for shift, name, colour, key in (
        (-0.18, without, WITHOUT_COLOUR, "arm_federated_without_iat"),
        (0.18, with_, WITH_COLOUR, "arm_federated_iat"),
    ):
        scores = results.arms[name].f1_unseen_people
        places = [i + shift for i in range(len(scores))]
        values = [s.value for s in scores.values()]
        low = [max(0.0, s.value - s.low) for s in scores.values()]
        high = [max(0.0, s.high - s.value) for s in scores.values()]
        axes.bar(places, values, 0.34, color=colour, label=texts[key])
        axes.errorbar(places, values, [low, high], fmt="none", ecolor="#333", elinewidth=0.8)
    aus = list(results.arms[with_].f1_unseen_people)
    axes.set_xticks(range(len(aus)), [f"AU{au}" for au in aus], rotation=45)
    axes.set_ylabel("F1")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, ncols=2, loc="upper right")
    return _svg(figure)


def probes(results: Results, without: str, with_: str, texts: Mapping[str, str]) -> str:
    """Return how often a linear probe names the person, against guessing."""
    figure, axes = _figure(6.2, 3.0)
    kinds = ("seen", "unseen", "real")
    for shift, name, colour in ((-0.2, without, WITHOUT_COLOUR), (0.2, with_, WITH_COLOUR)):
        values = [_probe(results.arms[name], kind)[0] for kind in kinds]
        places = [i + shift for i in range(3)]
        bars = axes.bar(places, values, 0.38, color=colour, label=texts[f"arm_{_base(name)}"])
        axes.bar_label(bars, [f"{v:.2f}" for v in values], fontsize=8)
    for i, kind in enumerate(kinds):
        chance = _probe(results.arms[with_], kind)[1]
        axes.hlines(
            chance, i - 0.42, i + 0.42, colors="#111", linestyles="--", linewidth=1,
            label="" if i else texts["chance"],
        )  # fmt: skip
    axes.set_xticks(range(3), [texts[f"probe_{kind}"] for kind in kinds])
    axes.set_ylim(0, 1.12)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
    return _svg(figure)


def trade_off(results: Results, texts: Mapping[str, str]) -> str:
    """Return F1 on new people against the identity probe, over reversal scales."""
    figure, axes = _figure(5.4, 3.4)
    arms = [(scale, results.arms[name]) for name, scale in results.curve.items()]
    x = [arm.identity_probe for _, arm in arms]
    y = [arm.macro_f1_unseen_people for _, arm in arms]
    axes.plot(x, y, "-", color=GREY, linewidth=1)
    for (scale, arm), px, py in zip(arms, x, y, strict=True):
        interval = arm.macro_f1_unseen_people_interval
        axes.errorbar(
            px, py, [[max(0.0, py - interval.low)], [max(0.0, interval.high - py)]], fmt="o",
            color=WITH_COLOUR if scale else WITHOUT_COLOUR, elinewidth=0.8,
        )  # fmt: skip
        axes.annotate(f"{scale:g}", (px, py), xytext=(6, 6), textcoords="offset points")
    axes.axvline(arms[0][1].identity_chance, color="#111", linestyle="--", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_xlabel(texts["axis_probe"])
    axes.set_ylabel(texts["axis_f1"])
    return _svg(figure)


def _base(name: str) -> str:
    return "federated_without_iat" if name.endswith("without_iat") else "federated_iat"


def _probe(arm: ArmResult, kind: str) -> tuple[float, float]:
    if kind == "seen":
        return arm.identity_probe, arm.identity_chance
    probe = {
        "unseen": arm.identity_probe_unseen_people,
        "real": arm.identity_probe_real_people,
    }[kind]
    return probe.accuracy, probe.chance


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "omote", "font.family": "sans-serif"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Text stays text, so the reader's fonts draw it: matplotlib need not have the glyphs.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
