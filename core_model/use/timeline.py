"""A page of AUs over time, to look at: one file, no script, nothing from the net.

Long videos are drawn in at most ``MAX_COLUMNS`` columns; each shows the mean of its frames.

Shapes: T = columns, A = action units.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import NAMES
from core_model.use.reader import Reading

MAX_COLUMNS = 600
MAX_PEOPLE = 12  # on one page, those seen longest
_ROW, _GAP, _LEFT, _WIDTH = 26, 4, 190, 940
Floats = NDArray[np.floating[Any]]


@dataclass
class Timeline:
    """Gathers readings in a bounded number of columns: when they run out, pairs are merged."""

    action_units: tuple[int, ...]
    thresholds: Floats
    frames_a_column: int = 1
    people: dict[int, dict[int, Floats]] = field(default_factory=dict)
    # of each person and column: sums of probabilities, occurrences, doubts, and frames. (3, A) + 1
    last_frame: int = 0
    last_time_s: float = 0.0

    def add(self, frame: int, time_s: float, readings: Sequence[Reading]) -> None:
        """Add the readings of a frame."""
        self.last_frame, self.last_time_s = frame, time_s
        while (frame - 1) // self.frames_a_column >= MAX_COLUMNS:
            self._merge()
        column = (frame - 1) // self.frames_a_column
        for r in readings:
            cells = self.people.setdefault(r.person, {})
            if column not in cells:
                cells[column] = np.zeros((4, len(self.action_units)))
            seen = np.ones(len(self.action_units))
            cells[column] += np.stack([r.probabilities, r.occurs > 0, r.occurs < 0, seen])

    def state(self) -> dict[str, Any]:
        """Return what goes on after an interruption, as plain values."""
        people = {
            str(p): {str(c): sums.tolist() for c, sums in cells.items()}
            for p, cells in self.people.items()
        }
        return {"frames_a_column": self.frames_a_column, "people": people}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.frames_a_column = int(state["frames_a_column"])
        self.people = {
            int(p): {int(c): np.array(sums) for c, sums in cells.items()}
            for p, cells in state["people"].items()
        }

    def _merge(self) -> None:
        self.frames_a_column *= 2
        for person, cells in self.people.items():
            merged: dict[int, Floats] = {}
            for column, sums in cells.items():
                half = column // 2
                merged[half] = merged[half] + sums if half in merged else sums
            self.people[person] = merged


def page(name: str, timeline: Timeline, about: Sequence[tuple[str, str]]) -> str:
    """Return the page as HTML."""
    longest = sorted(timeline.people, key=lambda p: -len(timeline.people[p]))[:MAX_PEOPLE]
    parts = [_person(timeline, person) for person in sorted(longest)]
    if not parts:
        parts = ["<p>No face was found.</p>"]
    if (more := len(timeline.people) - len(longest)) > 0:
        parts.append(f"<p>{more} more, seen for a shorter time, are in the table.</p>")
    facts = "".join(
        f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in about
    )
    return _PAGE.format(
        title=html.escape(f"Action Units of {name}"), style=_STYLE, body="\n".join(parts),
        facts=facts,
    )  # fmt: skip


def _person(timeline: Timeline, person: int) -> str:
    cells = timeline.people[person]
    columns = timeline.last_frame // timeline.frames_a_column + 1
    step = _WIDTH / max(columns, 1)
    frames = int(sum(c[3, 0] for c in cells.values()))
    rows = [
        _row(timeline, cells, a, au, _GAP + a * (_ROW + _GAP), step)
        for a, au in enumerate(timeline.action_units)
    ]
    height = _GAP + len(rows) * (_ROW + _GAP)
    axis = _axis(timeline, height)
    title = f"Person {person}" if person else "Crops"
    return (
        f"<h2>{title}</h2><p>{frames:,} frames</p>"
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + 70} {height + 26}" role="img" '
        f'aria-label="{title}: probability of each Action Unit over time">'
        f"{''.join(rows)}{axis}</svg>"
    )


def _row(
    timeline: Timeline, cells: dict[int, Floats], a: int, au: int, top: float, step: float
) -> str:
    bars, shades, doubts = [], [], []
    for column, sums in sorted(cells.items()):
        seen = sums[3, a]
        x, height = _LEFT + column * step, _ROW * sums[0, a] / seen
        bars.append(f"M{x:.1f} {top + _ROW:.1f}v{-height:.1f}h{step:.2f}v{height:.1f}z")
        if sums[1, a] / seen >= 0.5:
            shades.append(f"M{x:.1f} {top:.1f}v{_ROW}h{step:.2f}v-{_ROW}z")
        elif sums[2, a] / seen >= 0.5:
            doubts.append(f"M{x:.1f} {top + _ROW - 2:.1f}v2h{step:.2f}v-2z")
    y = top + _ROW * (1 - float(timeline.thresholds[a]))
    total = sum(c[1, a] for c in cells.values()) / max(sum(c[3, a] for c in cells.values()), 1)
    end = _LEFT + _WIDTH
    return (
        f'<text x="{_LEFT - 8}" y="{top + _ROW - 8}" class="name">AU{au} {NAMES[au]}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_ROW}" class="field"/>'
        f'<path d="{"".join(shades)}" class="on"/><path d="{"".join(bars)}" class="bar"/>'
        f'<path d="{"".join(doubts)}" class="doubt"/>'
        f'<path d="M{_LEFT} {y:.1f}H{end}" class="threshold"/>'
        f'<text x="{end + 8}" y="{top + _ROW - 8}" class="share">{total:.0%}</text>'
    )


def _axis(timeline: Timeline, height: float) -> str:
    shown = []
    for k in range(6):
        x = _LEFT + k * _WIDTH / 5
        frame = 1 + k * max(timeline.last_frame - 1, 0) / 5
        label = f"{k * timeline.last_time_s / 5:.1f} s" if timeline.last_time_s else f"{frame:.0f}"
        anchor = "start" if k == 0 else "end" if k == 5 else "middle"
        shown.append(f'<text x="{x:.0f}" y="{height + 16}" text-anchor="{anchor}">{label}</text>')
    return "".join(shown)


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2530;--soft:#5b6673;--field:#eef1f4;--bar:#4d7ea8;
--on:#f3c677;--line:#9aa5b1;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa5b1;--field:#232b35;--bar:#7fb0da;
--on:#7a5a1f;--line:#6b7785;--paper:#151a21}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;
margin:2rem auto;padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.15rem;margin:1.6rem 0 0}
p{color:var(--soft);margin:.2rem 0}svg{width:100%;height:auto;font-size:12px;fill:var(--ink)}
.field{fill:var(--field)}.on{fill:var(--on)}.bar{fill:var(--bar)}.doubt{fill:var(--line)}
.threshold{stroke:var(--line);stroke-dasharray:3 3;fill:none}.name{text-anchor:end}
.share{fill:var(--soft)}table{border-collapse:collapse;margin-top:.6rem}
th{text-align:left;font-weight:600;padding:.15rem 1rem .15rem 0;vertical-align:top;
white-space:nowrap}td{padding:.15rem 0;overflow-wrap:anywhere}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head><body>
<h1>{title}</h1>
<p>Height of a bar: probability. Dashed: the model's threshold. Coloured ground: the AU occurs.
Grey foot: too close to the threshold to say. At the right: share of frames in which it occurs.
AUs are movements of the face; they do not tell what a person feels.</p>
{body}
<h2>How this was made</h2><table>{facts}</table>
</body></html>
"""
