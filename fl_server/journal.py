"""What the server says while it runs: lines for people, or JSON lines for a log collector.

Names of sites and codes, as they stand in the log of rounds; never a key, never a person.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from core_model.evaluation.figures import RoundFigures
from fl_server.refusals import EXPLAINED
from fl_server.round_state import RoundSummary

Format = Literal["text", "json"]
Write = Callable[[str], None]
Field = str | int | float | bool | list[str]


class Journal:
    """Writes events, each in one line."""

    def __init__(self, write: Write, form: Format = "text") -> None:
        self._write, self._form = write, form

    def say(self, event: str, text: str, level: str = "info", **fields: Field) -> None:
        """Write one event.

        Args:
            event: Its name, for programs.
            text: What happened, for people.
            level: info, warning or error.
            fields: What belongs to it, for programs.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self._form == "json":
            line = {"time": now, "level": level, "event": event, "text": text, **fields}
            self._write(json.dumps(line, ensure_ascii=False))
        else:
            self._write(text if level == "info" else f"{level}: {text}")

    def round(self, summary: RoundSummary) -> None:
        """Write what became of a round, and of each site in it."""
        number = summary.round
        admitted = ", ".join(summary.admitted) or "nobody"
        self.say(
            "round_finished",
            f"round {number} ({summary.purpose}): admitted {admitted}; {summary.seconds:.0f} s",
            round=number,
            purpose=summary.purpose,
            admitted=list(summary.admitted),
            has_quorum=summary.has_quorum,
            model_out=summary.model_out,
            seconds=round(summary.seconds, 3),
        )
        for site, code in summary.refused.items():
            text = f"round {number}: refused {site}: {code.name}, {EXPLAINED[code.name]}"
            self.say(
                "refused", text, "warning", round=number, site=site, code=int(code), name=code.name
            )
        if summary.sum_lost is not None:
            name = summary.sum_lost.name
            text = f"round {number}: the secure sum is lost: {name}, {EXPLAINED[name]}"
            self.say("sum_lost", text, "warning", round=number, name=name)
        elif not summary.has_quorum:
            text = f"round {number}: no quorum, the model stayed as it was"
            self.say("no_quorum", text, "warning", round=number)

    def figures(self, figures: RoundFigures) -> None:
        """Write how good the model of a round is, on the public set."""
        number, f1, probe = figures.round, figures.macro_f1, figures.probe
        text = f"round {number}: macro F1 {f1.value or 0:.3f}"
        if f1.low is not None and f1.high is not None:
            text += f" [{f1.low:.3f}, {f1.high:.3f}]"
        if probe is not None:
            text += f"; identity probe {probe.accuracy:.3f}, guessing {probe.chance:.3f}"
        self.say("measured", text, round=number, macro_f1=round(f1.value or 0, 4))
