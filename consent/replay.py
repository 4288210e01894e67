"""A log and its state, kept together: new entries are read once, each time from one snapshot."""

from __future__ import annotations

from datetime import UTC, datetime

from consent.errors import LogRolledBackError
from consent.log import ConsentLog, LogSnapshot
from consent.state import State


class Replay:
    """The state of a log as far as it was read. ``state`` grows in place with ``catch_up``."""

    def __init__(self, log: ConsentLog) -> None:
        self.log = log
        self.state = State()

    def catch_up(self) -> LogSnapshot:
        """Read what is new; return the snapshot that ``state`` now stands for.

        Raises:
            LogRolledBackError: The log is shorter than it was.
        """
        snapshot = self.log.snapshot()
        if snapshot.size < self.state.size:
            raise LogRolledBackError(
                f"the consent log had {self.state.size} entries and has {snapshot.size} now: was a "
                "backup restored? Nothing is allowed until that is settled"
            )
        for index, seconds, key_id, event in snapshot.events(self.state.size):
            self.state.apply(index, datetime.fromtimestamp(seconds, UTC), key_id, event)
        return snapshot

    def take_back(self, size: int) -> None:
        """Undo what was applied on trial after ``size`` entries: the log is read anew."""
        if self.state.size != size:
            self.state = State()
