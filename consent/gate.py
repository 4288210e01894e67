"""The one place that answers: may this person's data be used for this purpose, now?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consent.checked_log import CheckedLog
from consent.errors import ConsentChangedError
from consent.log import Clock, LogSnapshot
from consent.model import Purpose
from consent.state import Decision, Status, decide


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

    def __init__(self, log: CheckedLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def rule(self, subject_ids: Iterable[str], purpose: Purpose) -> Ruling:
        """Rule on each subject, from a new snapshot.

        Time is the latest of the clock and the last entry: setting a clock back revives nothing.
        """
        state, snapshot = self._log.read()
        now = max(self._clock(), snapshot.last_time)
        decisions = {s: decide(state, s, purpose, now) for s in subject_ids}
        entries = {
            s: d.index
            for s, d in decisions.items()
            if d.status is Status.ALLOWED and d.index is not None
        }
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
