"""A log and its state, kept together: new entries are read once, each time from one snapshot."""

from __future__ import annotations

from datetime import UTC, datetime

from consent import merkle
from consent.errors import LogRolledBackError, ProofError
from consent.log import ConsentLog
from consent.note import TreeHead, parse_tree_head, split_note
from consent.snapshot import LogSnapshot
from consent.state import State


class Replay:
    """The state of a log as far as it was read. ``state`` grows in place with ``catch_up``."""

    def __init__(self, log: ConsentLog) -> None:
        self.log = log
        self.state = State()
        self._head: TreeHead | None = None  # what ``state`` stands for, unless tried entries do

    def catch_up(self) -> LogSnapshot:
        """Read what is new; return the snapshot that ``state`` now stands for.

        Raises:
            LogRolledBackError: The log is not an extension of what was read before.
        """
        snapshot = self._read_on()
        while self.state.lost and snapshot.size < self.log.snapshot().size:
            # Perhaps erased after the snapshot: then one of the next entries says so.
            snapshot = self._read_on()
        return snapshot

    def _read_on(self) -> LogSnapshot:
        snapshot = self.log.snapshot()
        head = parse_tree_head(split_note(snapshot.tree_head)[0])
        if self._head is not None and self._head != head:
            _check_grown(self._head, head, snapshot)
        self._head = head
        if snapshot.size > self.state.size:
            for index, seconds, key_id, event in snapshot.events(self.state.size):
                self.state.apply(index, datetime.fromtimestamp(seconds, UTC), key_id, event)
        return snapshot

    def take_back(self, size: int) -> None:
        """Undo what was applied on trial after ``size`` entries: the log is read anew."""
        if self.state.size != size:
            self.state = State()


def _check_grown(old: TreeHead, new: TreeHead, snapshot: LogSnapshot) -> None:
    try:
        proof = snapshot.consistency_proof(old.size)
        merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)
    except (ProofError, ValueError) as e:
        raise LogRolledBackError(
            f"the consent log had {old.size} entries and has {new.size} now that do not extend "
            "them: was a backup restored? Nothing is allowed until that is settled"
        ) from e
