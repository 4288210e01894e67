"""Recompute a consent log from its entries and compare. Trusts nothing but the log's public key."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from consent import merkle, store
from consent.entry import Entry, Opening, parse_entry, parse_event
from consent.errors import ConsentError, LogDamagedError
from consent.keys import VerifierKey
from consent.model import KeyAdded
from consent.note import open_tree_head


@dataclass(frozen=True)
class Verified:
    """What was found intact."""

    size: int
    root: bytes
    num_erased: int  # entries whose opening was deleted


def verify_log(path: Path, log_key: VerifierKey) -> Verified:
    """Check every entry, node, opening and tree head of a log, in one pass and little memory.

    Raises:
        LogDamagedError: Something does not fit; the message names the entry.
    """
    with store.transaction(path) as db:
        signers = {log_key.key_id.hex(): log_key}
        nodes: dict[tuple[int, int], bytes] = {}
        size = num_erased = last_time = 0
        rows = db.execute(
            "SELECT e.seq, e.body, o.salt, o.event FROM entry e LEFT JOIN opening o USING (seq) "
            "ORDER BY e.seq"
        )
        for seq, body, salt, event in rows:
            try:
                entry = _check_entry(bytes(body), size, last_time, signers)
                if int(seq) != size:
                    raise LogDamagedError("entries before it are missing")
                num_erased += event is None
                if event is not None:
                    _check_opening(entry, Opening(bytes(salt), parse_event(bytes(event))), signers)
                _grow(db, nodes, size, merkle.leaf_hash(bytes(body)))
            except ConsentError as e:
                raise LogDamagedError(f"entry {size}: {e}") from e
            size, last_time = size + 1, entry.t
            _check_head(db, nodes, size, log_key)
        _check_nothing_beyond(db, size)
        return Verified(size, merkle.root(lambda *at: nodes[at], size), num_erased)


def _check_entry(body: bytes, seq: int, last_time: int, signers: dict[str, VerifierKey]) -> Entry:
    entry = parse_entry(body)
    if entry.seq != seq:
        raise LogDamagedError(f"it says that it is entry {entry.seq}")
    if entry.t < last_time:
        raise LogDamagedError("it is older than the entry before it")
    if entry.key not in signers:
        raise LogDamagedError(f"its signer {entry.key} was never added")
    entry.check(signers[entry.key])
    return entry


def _check_opening(entry: Entry, opening: Opening, signers: dict[str, VerifierKey]) -> None:
    if opening.commitment() != entry.commit or opening.event.type != entry.type:
        raise LogDamagedError("its opening is not what it committed to")
    if isinstance(opening.event, KeyAdded):
        key = VerifierKey.parse(opening.event.vkey)
        signers[key.key_id.hex()] = key


def _grow(
    db: sqlite3.Connection, nodes: dict[tuple[int, int], bytes], seq: int, leaf: bytes
) -> None:
    """Add a leaf to ``nodes``, the right edge of the tree, and compare the stored nodes."""
    for level, at, value in merkle.completed(lambda *place: nodes[place], seq, leaf):
        if store.node_of(db, level, at) != value:
            raise LogDamagedError(f"stored node {at} at level {level} is wrong")
        nodes[level, at] = value
        if level:  # the two halves are not needed any more
            del nodes[level - 1, 2 * at], nodes[level - 1, 2 * at + 1]


def _check_head(
    db: sqlite3.Connection, nodes: dict[tuple[int, int], bytes], size: int, log_key: VerifierKey
) -> None:
    row = db.execute("SELECT note FROM tree_head WHERE size = ?", (size,)).fetchone()
    if row is None:
        return
    try:
        head = open_tree_head(row[0], log_key)
    except ConsentError as e:
        raise LogDamagedError(f"tree head of size {size}: {e}") from e
    if (head.size, head.root) != (size, merkle.root(lambda *at: nodes[at], size)):
        raise LogDamagedError(f"tree head of size {size} is of other entries")


def _check_nothing_beyond(db: sqlite3.Connection, size: int) -> None:
    if size and not db.execute("SELECT 1 FROM tree_head WHERE size = ?", (size,)).fetchone():
        raise LogDamagedError(f"no tree head covers the last entry, {size - 1}")
    last = db.execute("SELECT COALESCE(MAX(size), 0) FROM tree_head").fetchone()[0]
    if last > size:
        raise LogDamagedError(f"a tree head promises {last} entries, but there are {size}")
