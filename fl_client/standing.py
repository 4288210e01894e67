"""How a site stands: rounds, refusals, what is left of the day, consent. Counts only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from consent.model import Purpose
from consent.state import State, Status
from consent.subject_events import ConsentRequested
from consent.upkeep import count_expiring, count_statuses
from fl_client.config import Caps
from fl_client.diary import ANSWERED, SIGNED, Entry, Running
from fl_client.limits import used
from fl_client.refusals import EXPLAINED

SHOWN_ROUNDS = 10
SOON_D = 30


@dataclass(frozen=True)
class Standing:
    """What the operator is shown."""

    caps: Caps
    entries: Sequence[Entry]
    running: Running | None
    state: State
    now: datetime

    def lines(self) -> Iterator[str]:
        """Yield all of it, in plain lines."""
        yield from self.rounds()
        yield from self.refusals()
        yield from self.budgets()
        yield from self.consents()

    def rounds(self) -> Iterator[str]:
        """Yield the last rounds."""
        signed = sum(e.outcome == SIGNED for e in self.entries)
        answered = sum(e.outcome == ANSWERED for e in self.entries)  # of secure sums: no rounds
        yield f"rounds: {signed} signed, {len(self.entries) - signed - answered} not"
        for e in self.entries[-SHOWN_ROUNDS:]:
            name = f"{e.run_id}/{e.round} {e.purpose}" if e.run_id else "no round"
            took = f"{e.seconds:7.1f} s {e.num_bytes:>13,} bytes"
            yield f"  {e.started_at:%Y-%m-%d %H:%M}  {name:30} {took}  {e.outcome}"
        if self.running is not None:
            yield f"  running: {self.running.run_id}/{self.running.round}"

    def refusals(self) -> Iterator[str]:
        """Yield each code that occurred, what it means and what to do."""
        counted = Counter(e.outcome for e in self.entries if e.outcome not in (SIGNED, ANSWERED))
        last = {e.outcome: e.detail for e in self.entries}
        for code, number in counted.most_common():
            why, remedy = EXPLAINED.get(code, ("of another version", "read the changelog"))
            yield f"{code}, {number} times: {why}"
            yield f"  last time: {last[code]}"
            yield f"  what to do: {remedy}"

    def budgets(self) -> Iterator[str]:
        """Yield what is used and left of the last 24 hours."""
        spent, caps = used(self.entries, self.now), self.caps
        minutes, most = spent.seconds / 60, caps.max_minutes_per_day
        yield f"last 24 hours: {minutes:.1f} minutes of {most or 'any'}, " + (
            f"{spent.num_bytes:,} bytes of "
            + (f"{caps.max_bytes_per_day:,}" if caps.max_bytes_per_day else "any")
        )
        yield f"hours: {caps.hours or 'any'}"

    def consents(self) -> Iterator[str]:
        """Yield how many people agree, were asked and have not answered, or end soon."""
        statuses = count_statuses(self.state, self.now)
        ending = count_expiring(self.state, self.now)
        waiting = pending(self.state)
        for purpose in (Purpose.PRETRAINING, Purpose.FINETUNING):
            agree = statuses[purpose][Status.ALLOWED]
            yield (
                f"consent to {purpose}: {agree} agree, {waiting[purpose]} asked and not answered, "
                f"{ending[purpose][SOON_D]} end within {SOON_D} days"
            )


def pending(state: State) -> Counter[Purpose]:
    """Count people who were shown a notice and have not answered since."""
    counts: Counter[Purpose] = Counter()
    for person in state.subjects.values():
        asked: dict[Purpose, int] = {}
        for item in person.history:
            if isinstance(item.event, ConsentRequested):
                asked.update(dict.fromkeys(item.event.purposes, item.index))
        for purpose, index in asked.items():
            answer = person.answers.get(purpose)
            counts[purpose] += answer is None or answer.index < index
    return counts
