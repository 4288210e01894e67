"""What a witness remembers, in one SQLite file: logs, every head that it cosigned, and evidence.

A head is on the disk before its cosignature leaves, and heads of one log come one after the other:
two requests at once cannot roll it back.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from consent.cosignature import Cosigner
from consent.errors import WitnessError
from consent.keys import VerifierKey
from consent.note import TreeHead
from consent.witness import Request, Seen, decide, open_request, parse_request

_TABLES = """
CREATE TABLE IF NOT EXISTS log (origin TEXT, vkey TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (origin TEXT, size INTEGER, root BLOB NOT NULL, note TEXT NOT NULL,
  seen_at INTEGER NOT NULL, PRIMARY KEY (origin, size)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (origin TEXT NOT NULL, size INTEGER NOT NULL,
  note_a TEXT NOT NULL, note_b TEXT NOT NULL, seen_at INTEGER NOT NULL,
  UNIQUE (origin, size, note_a, note_b)) STRICT;
"""
MAX_EVIDENCE = 1000  # pairs kept of one log; one is enough to convict it


@dataclass(frozen=True)
class Evidence:
    """Two heads of one size that a log signed. ``consent.witness.check_equivocation`` judges."""

    origin: str
    size: int
    note_a: str
    note_b: str


class Witness:
    """Cosigns the heads of the logs that it was told of, with all of its keys."""

    def __init__(
        self, path: Path, cosigners: list[Cosigner], clock: Callable[[], datetime]
    ) -> None:
        """Open or make the file."""
        self._path = path
        self._cosigners = cosigners
        self._clock = clock
        if not path.exists():
            path.touch(mode=0o600)
        db = sqlite3.connect(path)
        db.executescript(_TABLES)
        db.close()

    def add_log(self, key: VerifierKey) -> None:
        """Watch a log from now on, or accept another key of it."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO log VALUES (?, ?)", (key.name, key.vkey))

    def add_checkpoint(self, body: bytes) -> str:
        """Answer an ``add-checkpoint`` request: the cosignature lines.

        Raises:
            WitnessError: It is refused.
        """
        request = parse_request(body)
        time_s = int(self._clock().timestamp())
        with self._transaction() as db:
            head = open_request(request, _keys(db, request.claimed.origin))
            _keep_evidence(db, head, request, time_s)
            last = _last(db, head.origin)
            try:
                decide(request, head, last.head if last else None)
            except WitnessError:
                db.execute("COMMIT")  # the evidence stays
                raise
            db.execute(
                "INSERT OR IGNORE INTO head VALUES (?, ?, ?, ?, ?)",
                (head.origin, head.size, head.root, request.note, time_s),
            )
        return "".join(cosigner.cosign(head, time_s) for cosigner in self._cosigners)

    def logs(self) -> list[tuple[str, Seen | None]]:
        """Return the logs that are watched, with the last head of each."""
        with self._transaction() as db:
            origins = db.execute("SELECT DISTINCT origin FROM log ORDER BY origin").fetchall()
            return [(origin, _last(db, origin)) for (origin,) in origins]

    def last_note(self, origin_hash: str) -> str | None:
        """Return the last head cosigned, by the SHA-256 of the log's name in hex."""
        for origin, seen in self.logs():
            if hashlib.sha256(origin.encode()).hexdigest() == origin_hash and seen is not None:
                return seen.note
        return None

    def evidence(self) -> list[Evidence]:
        """Return the pairs of heads with which a log convicts itself."""
        with self._transaction() as db:
            sql = "SELECT origin, size, note_a, note_b FROM evidence ORDER BY rowid"
            return [Evidence(*row) for row in db.execute(sql)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = DELETE")  # see store_sqlite
            db.execute("PRAGMA synchronous = EXTRA")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()


def _keys(db: sqlite3.Connection, origin: str) -> list[VerifierKey]:
    rows = db.execute("SELECT vkey FROM log WHERE origin = ?", (origin,))
    return [VerifierKey.parse(vkey) for (vkey,) in rows]


def _last(db: sqlite3.Connection, origin: str) -> Seen | None:
    sql = "SELECT size, root, note FROM head WHERE origin = ? ORDER BY size DESC LIMIT 1"
    row = db.execute(sql, (origin,)).fetchone()
    return None if row is None else Seen(TreeHead(origin, row[0], bytes(row[1])), row[2])


def _keep_evidence(db: sqlite3.Connection, head: TreeHead, request: Request, time_s: int) -> None:
    """Keep a head whose size was cosigned with another root: the log signed both."""
    sql = "SELECT note FROM head WHERE origin = ? AND size = ? AND root <> ?"
    row = db.execute(sql, (head.origin, head.size, head.root)).fetchone()
    kept = db.execute("SELECT COUNT(*) FROM evidence WHERE origin = ?", (head.origin,)).fetchone()
    if row is not None and kept[0] < MAX_EVIDENCE:
        db.execute(
            "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)",
            (head.origin, head.size, row[0], request.note, time_s),
        )
