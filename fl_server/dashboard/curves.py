"""Figures over rounds as the geometry of plots: paths, places and ticks that a template draws.

Shares from 0 at the bottom to 1 at the top; units are those of the SVG's view box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core_model.evaluation.figures import RoundFigures
from core_model.evaluation.result import Measure

MAX_TICKS = 6
MAX_DOTS = 40  # with more rounds the line alone is clearer
Place = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Where in a picture the plot is."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


LARGE = Box(320, 176, 34, 308, 10, 148)
SMALL = Box(120, 48, 4, 112, 4, 44)


@dataclass(frozen=True)
class Plot:
    """All that a template needs to draw a curve."""

    box: Box
    line: str  # path
    band: str  # path around the intervals
    whisker: str  # path of the newest interval, which a band of one round would not show
    dots: tuple[Place, ...]  # the newest is the last
    levels: tuple[tuple[str, float], ...]  # name, height
    rounds: tuple[tuple[int, float], ...]  # ticks below
    shares: tuple[tuple[str, float], ...]  # ticks at the left


@dataclass(frozen=True)
class Measured:
    """The plots of a run, and the figures of the newest round that has any."""

    newest: RoundFigures
    macro_f1: Plot
    f1: dict[int, Plot]
    probe: Plot | None  # None: nobody can be probed


def measured(figures: Sequence[RoundFigures]) -> Measured | None:
    """Return the plots of some rounds, oldest first; None of none."""
    if not figures:
        return None
    newest = figures[-1]
    probes = [(f.round, f.probe) for f in figures if f.probe is not None]
    shares = [(n, Measure(value=p.accuracy, low=None, high=None)) for n, p in probes]
    probe = None
    if probes:
        levels = {"chance": probes[-1][1].chance, "labels": probes[-1][1].labels}
        probe = plot(LARGE, shares, levels)
    return Measured(
        newest=newest,
        macro_f1=plot(LARGE, [(f.round, f.macro_f1) for f in figures],
                      {"always": newest.mean_always}),
        f1={
            au: plot(SMALL, [(f.round, f.f1[au]) for f in figures if au in f.f1],
                     {"always": newest.always_f1[au]})
            for au in newest.f1
        },
        probe=probe,
    )  # fmt: skip


def plot(box: Box, values: Sequence[tuple[int, Measure]], levels: Mapping[str, float]) -> Plot:
    """Return the geometry of one curve.

    Args:
        box: Where it goes.
        values: Round and value, at least one, rounds rising. Undefined ones are left out.
        levels: Lines across, by name.
    """
    first, last = values[0][0], values[-1][0]

    def x(number: float) -> float:
        share = (number - first) / (last - first) if last > first else 0.5
        return round(box.left + share * (box.right - box.left), 1)

    def y(share: float) -> float:
        return round(box.bottom - share * (box.bottom - box.top), 1)

    places = [(x(n), y(m.value)) for n, m in values if m.value is not None]
    ends = [(x(n), y(m.low), y(m.high)) for n, m in values
            if m.low is not None and m.high is not None]  # fmt: skip
    around = [(a, low) for a, low, _ in ends] + [(a, high) for a, _, high in reversed(ends)]
    whisker = f"M{ends[-1][0]} {ends[-1][1]}V{ends[-1][2]}" if ends else ""
    return Plot(
        box=box,
        line=_path(places),
        band=f"{_path(around)}Z" if around else "",
        whisker=whisker,
        dots=tuple(places) if len(places) <= MAX_DOTS else tuple(places[-1:]),
        levels=tuple((name, y(share)) for name, share in levels.items()),
        rounds=tuple((n, x(n)) for n in ticks(first, last)),
        shares=tuple((f"{share:g}", y(share)) for share in (0, 0.25, 0.5, 0.75, 1)),
    )


def ticks(first: int, last: int) -> tuple[int, ...]:
    """Return round numbers to name below a plot: evenly spread, few, the first among them."""
    step = 1
    while (last - first) / step > MAX_TICKS - 1:
        step = next(s for s in _steps() if s > step)
    return tuple(range(first, last + 1, step))


def _steps() -> Sequence[int]:
    return [base * 10**power for power in range(7) for base in (1, 2, 5)]


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{a} {b}" for a, b in places) if places else ""
