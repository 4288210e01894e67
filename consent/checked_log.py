"""A consent log that takes only what fits: events and signers are checked before they are written.

One lock around reading, checking and appending, so that no other process comes between.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from consent.checks import check_event
from consent.events import ConsentEvent
from consent.keys import SigningKey
from consent.log import Clock, ConsentLog, LogSnapshot
from consent.model import SubjectEvent
from consent.replay import Replay
from consent.state import State
from consent.vault import Vault


class CheckedLog:
    """A log with its state. Several processes may use one log; threads may share one of these."""

    def __init__(self, log: ConsentLog, vault: Vault, lock_file: Path, clock: Clock) -> None:
        self.log = log
        self.replay = Replay(log)
        self.clock = clock
        self._vault = vault
        self._lock_file = lock_file
        self._lock = threading.RLock()
        self._depth = 0  # of nested writes

    def read(self) -> tuple[State, LogSnapshot]:
        """Return what the log says now, and the snapshot that says it."""
        with self._lock:
            snapshot = self.replay.catch_up()
            return self.replay.state, snapshot

    def append(
        self, events: Sequence[ConsentEvent], key: SigningKey, *, forget: Sequence[int] = ()
    ) -> range:
        """Check and append events in one durable step: all of them or none.

        Args:
            events: What happened.
            key: Signs the entries.
            forget: Indices whose openings are deleted in the same step.

        Raises:
            RecordError: An event does not fit the log.
            RoleError: The key may not sign an event.
        """
        with self.writing() as state:
            first, moment, key_id = state.size, self.clock(), key.verifier.key_id.hex()
            time = max(moment.replace(microsecond=0), state.last_time)
            try:
                for event in events:
                    check_event(state, event, time)
                    state.keys.check(state.size, key_id, event.type, event)
                    state.apply(state.size, time, key_id, event)
                self._vault.prepare(e.subject_id for e in events if isinstance(e, SubjectEvent))
                indices = self.log.append(events, key, lambda: moment, forget=forget)
            except BaseException:
                self.replay.take_back(first)
                raise
            if indices.start != first:  # the log put a remark of its own before them
                self.replay.take_back(first)
            return indices

    @contextmanager
    def writing(self) -> Iterator[State]:
        """Keep everyone else from appending, in this process and others; yield the state."""
        with self._lock, self._lock_file.open("a") as file:
            if self._depth == 0:
                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            self._depth += 1
            try:
                self.replay.catch_up()
                yield self.replay.state
            finally:
                self._depth -= 1
