"""A consent log that takes only what fits: events and signers are checked before they are written.

One lock around reading, checking and appending, so that no other process comes between.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from consent.checks import check_event
from consent.cosignature import WitnessKey
from consent.errors import BadSignatureError, LogDamagedError, MalformedError
from consent.events import ConsentEvent
from consent.keys import SigningKey
from consent.log import Clock, ConsentLog
from consent.model import Role, SubjectEvent
from consent.note import split_note
from consent.replay import Replay
from consent.site_folder import SiteFolder
from consent.snapshot import LogSnapshot
from consent.state import State
from consent.vault import Vault

MAX_AHEAD_S = 300  # of a witness's clock, as Flower allows between machines


class Journal:
    """A log with its state. Several processes may use one log; threads may share one of these."""

    def __init__(self, place: SiteFolder, vault: Vault, clock: Clock) -> None:
        self.replay = Replay(place.open_log(vault=vault))
        self.clock = clock
        self._place = place
        self._keys = place.keys
        self._vault = vault
        self._lock = threading.RLock()
        self._depth = 0  # of nested writes
        self._opened: dict[tuple[SigningKey, SigningKey | None], ConsentLog] = {}

    @contextmanager
    def reading(self) -> Iterator[tuple[State, LogSnapshot]]:
        """Yield what the log says now, and the snapshot that says it. No thread changes either."""
        with self._lock:
            snapshot = self.replay.catch_up()
            yield self.replay.state, snapshot

    def append(
        self,
        events: Sequence[ConsentEvent],
        signer: SigningKey | Sequence[Role],
        *,
        forget: Sequence[int] = (),
    ) -> range:
        """Check and append events in one durable step: all of them or none.

        Args:
            events: What happened.
            signer: A key; or roles, of which the first whose key is at hand signs.
            forget: Indices whose openings are deleted in the same step.

        Raises:
            RecordError: An event does not fit the log.
            RoleError: The key may not sign an event.
            KeyFileError: No key of those roles, or not the log's own, is at hand.
        """
        with self.writing() as state:
            first, moment = state.size, self.clock()
            log = self._log(state)
            key = signer
            if not isinstance(key, SigningKey):
                key = self._keys.first(key, state.keys, first)
            key_id = key.verifier.key_id.hex()
            time = max(moment.replace(microsecond=0), state.last_time)
            try:
                for event in events:
                    check_event(state, event, time)
                    state.keys.check(state.size, key_id, event.type, event)
                    state.apply(state.size, time, key_id, event)
                self._vault.prepare(e.subject_id for e in events if isinstance(e, SubjectEvent))
                indices = log.append(events, key, lambda: moment, forget=forget)
            except BaseException:
                self.replay.take_back(first)
                raise
            if indices.start != first:  # the log put a remark of its own before them
                self.replay.take_back(first)
            return indices

    def keep_cosignature(self, size: int, line: str, witness: WitnessKey) -> None:
        """Keep the cosignature of a witness beside this log's tree head of ``size`` entries.

        Raises:
            LogDamagedError: This log signed no such head.
            MalformedError: It is not one signature line.
            BadSignatureError: It is not by the witness, is of another head, or its time lies ahead
                of this clock: consent expires by the latest cosignature, so a witness whose clock
                runs ahead could end all of it.
        """
        with self._lock:
            log = self.replay.log
            with log.store.transaction() as tx:
                note = tx.tree_head(size)
            if note is None:
                raise LogDamagedError(f"this log signed no tree head of {size} entries")
            text, signatures = split_note(f"{note}{line}")
            name, raw = signatures[-1]
            if len(signatures) != len(split_note(note)[1]) + 1:
                raise MalformedError("expected one signature line")
            if (name, raw[:4]) != (witness.name, witness.key_id):
                raise BadSignatureError(f"expected a cosignature by {witness.name}, got {name}")
            ahead_s = witness.check(text, raw[4:]) - self.clock().timestamp()
            if ahead_s > MAX_AHEAD_S:
                raise BadSignatureError(f"the clock of {witness.name} is {ahead_s:.0f} s ahead")
            log.add_cosignatures(f"{note}{line}", [witness])

    @contextmanager
    def writing(self) -> Iterator[State]:
        """Keep everyone else from appending, in this process and others; yield the state."""
        with self._lock, self._place.append_lock.open("a") as file:
            if self._depth == 0:
                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            self._depth += 1
            try:
                self.replay.catch_up()
                yield self.replay.state
            finally:
                self._depth -= 1

    def _log(self, state: State) -> ConsentLog:
        """Return the log with the key that signs its heads; during a rotation, with both keys."""
        newest = self._keys.first([Role.LOG], state.keys, state.size)
        older = self._keys.active(Role.LOG, state.keys, state.size)[1:]
        pair = (newest, older[0] if older else None)
        if pair not in self._opened:
            log = self._place.open_log(newest, self._vault, outgoing=pair[1])
            self._opened = {pair: log}
        return self._opened[pair]
