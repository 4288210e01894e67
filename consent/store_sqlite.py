"""A consent log in one SQLite file: crash safety, and triggers that catch mistakes.

SQLite from 3.7.0 to 3.51.2 can corrupt a WAL file with two writers (the WAL-reset bug), so WAL is
used from 3.51.3 on only; before, the rollback journal, which every commit cuts to nothing and
syncs: as durable as deleting it and syncing the folder, with fewer syncs. Triggers guard against
bugs; who can write the file can drop them. Against people there are signatures, the tree and
witnesses.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consent.errors import LogDamagedError
from consent.store import APPEND_ONLY, Transaction, Values

BUSY_TIMEOUT_S = 30.0
WAL_IS_SAFE = sqlite3.sqlite_version_info >= (3, 51, 3)

_TABLES = """
CREATE TABLE entry (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE node (level INTEGER, seq INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, seq))
  STRICT, WITHOUT ROWID;
CREATE TABLE tree_head (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE cosignature (size INTEGER, key TEXT, line TEXT NOT NULL, PRIMARY KEY (size, key))
  STRICT, WITHOUT ROWID;
CREATE TABLE opening (seq INTEGER PRIMARY KEY, owner TEXT, body BLOB NOT NULL) STRICT;
"""
_APPEND_ONLY = """
CREATE TRIGGER {table}_{action} BEFORE {action} ON {table}
  BEGIN SELECT RAISE(ABORT, 'the consent log is append-only'); END;
"""
# REPLACE deletes without the triggers for DELETE, so what stands is guarded at INSERT as well.
_INSERT = """
CREATE TRIGGER {table}_INSERT BEFORE INSERT ON {table} WHEN {when}
  BEGIN SELECT RAISE(ABORT, 'the consent log is append-only: {rule}'); END;
"""
_INSERT_RULES = {
    "entry": (
        "NEW.seq IS NOT (SELECT COALESCE(MAX(seq) + 1, 0) FROM entry)",
        "an entry has the next index",
    ),
    "node": (
        "EXISTS (SELECT 1 FROM node WHERE level = NEW.level AND seq = NEW.seq)",
        "a node is written once",
    ),
    "tree_head": (
        "NEW.size IS NOT (SELECT MAX(seq) + 1 FROM entry)"
        " OR EXISTS (SELECT 1 FROM tree_head WHERE size >= NEW.size)",
        "a tree head covers all entries, once",
    ),
    "opening": (
        "NEW.seq IS NOT (SELECT MAX(seq) FROM entry)"
        " AND NOT EXISTS (SELECT 1 FROM entry WHERE seq = NEW.seq)"
        " OR EXISTS (SELECT 1 FROM opening WHERE seq = NEW.seq)",
        "an entry has one opening",
    ),
}


class SqliteStore:
    """The tables in a file. Connections are kept for the next transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._idle: list[tuple[tuple[int, ...], sqlite3.Connection]] = []

    def create(self) -> None:
        """Make an empty file that only its owner can read.

        Raises:
            FileExistsError: There is one already.
        """
        self.path.touch(mode=0o600, exist_ok=False)
        with self._connection(write=True) as db:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            for statement in _triggers():
                db.execute(statement)

    def check_empty(self) -> None:
        """Check that there is no such file.

        Raises:
            FileExistsError: There is.
        """
        if self.path.exists():
            raise FileExistsError(f"{self.path}: there is a consent log already")

    def check_guards(self) -> None:
        """Check that no trigger was dropped or changed.

        Raises:
            LogDamagedError: One was.
        """
        with self._connection(write=False) as db:
            there = db.execute("SELECT sql || ';' FROM sqlite_master WHERE type = 'trigger'")
            if {sql for (sql,) in there} != {sql.strip() for sql in _triggers()}:
                raise LogDamagedError(
                    "the triggers that keep the file append-only were dropped or changed"
                )

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Transaction]:
        """Open one transaction; every one sees all that was committed before it.

        Raises:
            FileNotFoundError: There is no such file.
        """
        with self._connection(write=write) as db:

            def run(sql: str, values: Values) -> list[Any]:
                return db.execute(sql, values).fetchall()

            def run_many(sql: str, rows: Sequence[Values]) -> None:
                db.executemany(sql, rows)

            yield Transaction(run, run_many)

    @contextmanager
    def _connection(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        db = self._take() or _connect(self.path)
        done = False
        try:
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield db
            db.execute("COMMIT")
            done = True
        finally:
            if done:
                self._idle.append((self._state(), db))
            else:
                db.close()  # without a commit before, this rolls back

    def _take(self) -> sqlite3.Connection | None:
        """Return a kept connection, if the file is the one that it left.

        A backup that was copied over the file may look unchanged to SQLite, which would then mix
        the pages of both.
        """
        now = self._state()
        while self._idle:
            left, db = self._idle.pop()
            if left == now:
                return db
            if left[0] == now[0]:  # a connection must not be closed in a forked process
                db.close()
        return None

    def _state(self) -> tuple[int, ...]:
        try:
            stat = os.stat(self._name)  # noqa: PTH116 - twice in every append
        except FileNotFoundError as e:
            raise FileNotFoundError(
                f"no consent log at {self.path}; make one with: omote-consent init"
            ) from e
        return os.getpid(), stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _triggers() -> list[str]:
    actions = [(table, action) for table in APPEND_ONLY for action in ("UPDATE", "DELETE")]
    guards = [_APPEND_ONLY.format(table=t, action=a) for t, a in (*actions, ("opening", "UPDATE"))]
    return guards + [
        _INSERT.format(table=table, when=when, rule=rule)
        for table, (when, rule) in _INSERT_RULES.items()
    ]


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    db.execute(f"PRAGMA journal_mode = {'WAL' if WAL_IS_SAFE else 'TRUNCATE'}")
    db.execute(f"PRAGMA synchronous = {'FULL' if WAL_IS_SAFE else 'EXTRA'}")
    db.execute("PRAGMA mmap_size = 0")
    db.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE deletes in silence
    db.execute("PRAGMA secure_delete = ON")  # a deleted opening leaves no bytes behind
    return db
