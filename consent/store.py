"""The SQLite file of a consent log: tables, crash safety, and nothing about what entries mean.

Rollback journal, not WAL: SQLite before 3.51.3 can corrupt a WAL file with two writers (the
WAL-reset bug), and a WAL reader may miss a withdrawal. EXTRA syncs the folder after a commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_TIMEOUT_S = 5.0

_TABLES = """
CREATE TABLE entry (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE node (level INTEGER, seq INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, seq))
  STRICT, WITHOUT ROWID;
CREATE TABLE tree_head (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE opening (seq INTEGER PRIMARY KEY, owner TEXT, body BLOB NOT NULL) STRICT;
CREATE INDEX opening_owner ON opening (owner);
"""
_APPEND_ONLY = """
CREATE TRIGGER {table}_{action} BEFORE {action} ON {table}
  BEGIN SELECT RAISE(ABORT, 'the consent log is append-only'); END;
"""


def create(path: Path) -> None:
    """Make an empty file that only its owner can read.

    Raises:
        FileExistsError: There is one already.
    """
    path.touch(mode=0o600, exist_ok=False)
    with transaction(path, write=True) as db:
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                db.execute(statement)
        for table in ("entry", "node", "tree_head"):
            for action in ("UPDATE", "DELETE"):
                db.execute(_APPEND_ONLY.format(table=table, action=action))


@contextmanager
def transaction(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction; every one sees all that was committed before it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"no consent log at {path}; make one with: omote-consent init")
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA mmap_size = 0")
        db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        yield db
        db.execute("COMMIT")
    finally:
        db.close()  # without a commit before, this rolls back


def size_of(db: sqlite3.Connection) -> int:
    """Return the number of entries."""
    return int(db.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM entry").fetchone()[0])


def node_of(db: sqlite3.Connection, level: int, seq: int) -> bytes:
    """Return the hash of a full subtree."""
    row = db.execute("SELECT hash FROM node WHERE level = ? AND seq = ?", (level, seq)).fetchone()
    if row is None:
        raise LookupError(f"the log has no node {seq} at level {level}")
    return bytes(row[0])
