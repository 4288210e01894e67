"""The append-only consent log of one site: signed commitments in a Merkle tree.

Entry, tree nodes and signed tree head are written in one transaction, so a crash leaves a log that
ends earlier, never one whose head promises what is not there, and no two heads of one size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent import merkle, store
from consent.entry import (
    MAX_ENTRY_BYTES,
    Entry,
    Opening,
    Sealed,
    Sealer,
    make_entry,
    parse_entry,
)
from consent.errors import LogDamagedError
from consent.events import ConsentEvent
from consent.keys import SigningKey
from consent.model import Role
from consent.note import TreeHead, sign_tree_head
from consent.site_events import KeyAdded

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class LogSnapshot:
    """The log at one moment: events, head and proofs all speak of the same entries."""

    path: Path
    size: int
    last_time: datetime  # of the last entry
    tree_head: str  # signed note
    entries: tuple[tuple[Entry, ConsentEvent | None], ...]  # those asked for; None: erased

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """Prove that this snapshot extends the log of ``old_size`` entries; empty from 0.

        Raises:
            ValueError: The log is shorter than ``old_size``: it was cut or restored.
        """
        if old_size == 0:
            return []
        with store.transaction(self.path) as db:
            node = lambda level, seq: store.node_of(db, level, seq)  # noqa: E731
            return merkle.consistency_proof(node, old_size, self.size)

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Prove that entry ``index`` is in this snapshot."""
        with store.transaction(self.path) as db:
            node = lambda level, seq: store.node_of(db, level, seq)  # noqa: E731
            return merkle.inclusion_proof(node, index, self.size)


class ConsentLog:
    """Consent events in order. Reading needs no key; appending needs the log's own."""

    def __init__(self, path: Path, log_key: SigningKey | None, vault: Sealer) -> None:
        self.path = path
        self._log_key = log_key
        self._vault = vault

    @classmethod
    def create(cls, path: Path, log_key: SigningKey, vault: Sealer, clock: Clock) -> ConsentLog:
        """Make a log whose first entry adds its own key.

        Raises:
            FileExistsError: There is a log already.
        """
        store.create(path)
        log = cls(path, log_key, vault)
        log.append([KeyAdded(vkey=log_key.verifier.vkey, role=Role.LOG)], log_key, clock)
        return log

    def append(self, events: Sequence[ConsentEvent], signer: SigningKey, clock: Clock) -> range:
        """Append events in one durable step; return their indices.

        Raises:
            PermissionError: The log was opened without its key.
        """
        if self._log_key is None:
            raise PermissionError("this log was opened for reading; appending needs the log key")
        with store.transaction(self.path, write=True) as db:
            first = store.size_of(db)
            time_s = max(int(clock().timestamp()), _last_time(db, first))
            for seq, event in enumerate(events, start=first):
                opening = Opening.of(event)
                body = make_entry(opening, seq, time_s, signer).body()
                assert len(body) <= MAX_ENTRY_BYTES
                db.execute("INSERT INTO entry VALUES (?, ?)", (seq, body))
                sealed = self._vault.seal(seq, opening)
                db.execute("INSERT INTO opening VALUES (?, ?, ?)", (seq, sealed.owner, sealed.body))
                node = lambda level, at: store.node_of(db, level, at)  # noqa: E731
                for row in merkle.completed(node, seq, merkle.leaf_hash(body)):
                    db.execute("INSERT INTO node VALUES (?, ?, ?)", row)
            size = first + len(events)
            root = merkle.root(lambda level, at: store.node_of(db, level, at), size)
            note = sign_tree_head(TreeHead(self._log_key.name, size, root), self._log_key)
            db.execute("INSERT INTO tree_head VALUES (?, ?)", (size, note))
        return range(first, size)

    def forget(self, owner: str) -> None:
        """Delete the openings of a person. No proof changes."""
        with store.transaction(self.path, write=True) as db:
            db.execute("DELETE FROM opening WHERE owner = ?", (owner,))

    def snapshot(self, start: int = 0) -> LogSnapshot:
        """Return the log as it stands now, from one read, with its entries from ``start`` on.

        Raises:
            LogDamagedError: The head is not of the last entry.
        """
        with store.transaction(self.path) as db:
            size = store.size_of(db)
            head = db.execute("SELECT note FROM tree_head WHERE size = ?", (size,)).fetchone()
            rows = db.execute(
                "SELECT e.seq, e.body, o.owner, o.body FROM entry e LEFT JOIN opening o USING (seq)"
                " WHERE e.seq >= ? ORDER BY e.seq",
                (start,),
            ).fetchall()
            last = _last_time(db, size)
        if head is None:
            raise LogDamagedError(f"the log has {size} entries but no tree head of that size")
        entries = tuple(
            (parse_entry(bytes(body)), self._unseal(int(seq), owner, sealed))
            for seq, body, owner, sealed in rows
        )
        return LogSnapshot(self.path, size, datetime.fromtimestamp(last, UTC), head[0], entries)

    def _unseal(self, seq: int, owner: str | None, body: bytes | None) -> ConsentEvent | None:
        opening = None if body is None else self._vault.unseal(seq, Sealed(owner, bytes(body)))
        return None if opening is None else opening.event


def _last_time(db: sqlite3.Connection, size: int) -> int:
    if size == 0:
        return 0
    row = db.execute("SELECT body FROM entry WHERE seq = ?", (size - 1,)).fetchone()
    return parse_entry(bytes(row[0])).t
