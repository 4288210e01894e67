"""All that the questions of an audit are answered from. Plain values; nothing is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consent.audit.report import Answer, Head, Outcome, Report, Table
from consent.audit.rounds import RoundCheck
from consent.audit.server import ServerRecord
from consent.model import Purpose
from consent.state import Decision, State, Status, decide


@dataclass(frozen=True)
class Facts:
    """A site's log, verified and replayed, and what was found about its rounds."""

    site: str
    at: datetime
    state: State
    log: Head
    first_time: datetime | None
    checks: Sequence[RoundCheck]
    damage: str | None = None  # why the log cannot be trusted
    records: Sequence[ServerRecord] = ()  # of servers, if they gave them
    before: Report | None = None  # an earlier audit

    def people(self) -> Iterator[str]:
        """Yield the subject ids that are registered and not erased."""
        for subject_id, person in self.state.subjects.items():
            if person.registered is not None:
                yield subject_id

    def standing(self, subject_id: str, purpose: Purpose) -> Decision:
        """Decide as of now."""
        return decide(self.state, subject_id, purpose, self.at)

    def allowed(self, purpose: Purpose) -> list[str]:
        """Return whose data may be used for a purpose now."""
        return [s for s in self.people() if self.standing(s, purpose).status is Status.ALLOWED]


@dataclass
class Draft:
    """An answer while it is written."""

    number: int
    group: str
    question: str
    outcome: Outcome = Outcome.GOOD
    evidence: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)

    def __call__(
        self,
        answer: str,
        columns: Sequence[str] = (),
        rows: Sequence[Sequence[object]] = (),
    ) -> Answer:
        """Return it, with a table if there are rows."""
        table = None
        if rows:
            table = Table(columns=tuple(columns), rows=tuple(tuple(map(str, row)) for row in rows))
        return Answer(
            number=self.number,
            group=self.group,
            question=self.question,
            outcome=self.outcome,
            answer=answer,
            evidence=tuple(self.evidence),
            table=table,
            todo=tuple(self.todo),
        )

    def nothing(self, answer: str) -> Answer:
        """Return that the question does not arise here."""
        self.outcome = Outcome.NOTHING
        return self(answer)

    def flag(self, outcome: Outcome, todo: str) -> None:
        """Make the outcome at least this bad, and say what to do."""
        order = list(Outcome)
        self.outcome = max(self.outcome, outcome, key=order.index)
        self.todo.append(todo)


def count(number: int, one: str, many: str | None = None) -> str:
    """Return '1 person', '3 people'."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(counts: Counter[str]) -> str:
    """Return '3 allowed, 1 withdrawn'."""
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.most_common()) or "none"


def day(moment: datetime) -> str:
    """Return a day as a person reads it."""
    return f"{moment:%Y-%m-%d}"


def minute(moment: datetime) -> str:
    """Return a moment as a person reads it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
