"""The one place that answers: may this person's data be used for this purpose, now?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consent.errors import ConsentChangedError
from consent.log import Clock, ConsentLog, LogSnapshot
from consent.model import ConsentGiven, ConsentWithdrawn, Decision, Purpose, decide


@dataclass(frozen=True)
class Ruling:
    """Decisions about some subjects, and the one log snapshot that they rest on."""

    purpose: Purpose
    at: datetime
    decisions: Mapping[str, Decision]
    entries: Mapping[str, int]  # index of the log entry that allows each allowed subject
    snapshot: LogSnapshot

    @property
    def allowed(self) -> frozenset[str]:
        """The subjects whose data may be used."""
        return frozenset(self.entries)


class ConsentGate:
    """Reads a consent log and rules on subjects. Denies by default."""

    def __init__(self, log: ConsentLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def rule(self, subject_ids: Iterable[str], purpose: Purpose) -> Ruling:
        """Rule on each subject, from a new snapshot.

        Time is the later of the clock and the last entry: setting a clock back revives nothing.
        """
        snapshot = self._log.snapshot()
        now = max(self._clock(), snapshot.last_time)
        history: dict[str, list[tuple[int, ConsentGiven | ConsentWithdrawn]]] = defaultdict(list)
        for index, event in snapshot.events:
            if isinstance(event, ConsentGiven | ConsentWithdrawn):
                history[event.subject_id].append((index, event))
        decisions, entries = {}, {}
        for subject in subject_ids:
            events = history.get(subject, [])
            decisions[subject] = decide([e for _, e in events], purpose, now)
            if decisions[subject] is Decision.ALLOWED:
                entries[subject] = max(i for i, e in events if purpose in e.purposes)
        return Ruling(purpose, now, decisions, entries, snapshot)

    def recheck(self, ruling: Ruling) -> Ruling:
        """Rule again, before anything made from the data is let out.

        Raises:
            ConsentChangedError: A subject that was allowed no longer is.
        """
        again = self.rule(ruling.decisions, ruling.purpose)
        lost = ruling.allowed - again.allowed
        if lost:
            raise ConsentChangedError(f"consent of {len(lost)} subject(s) ended during the round")
        return again
