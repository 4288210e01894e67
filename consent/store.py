"""The tables of a consent log, in SQL that SQLite and PostgreSQL both speak.

Knows nothing about what entries mean. Entries, nodes, tree heads and cosignatures are only added;
openings may also be deleted, which is how a person is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from consent import merkle
from consent.entry import Sealed
from consent.errors import LogDamagedError

BLOCK = 1024  # entries read at a time: memory stays flat, whatever the size of the log
APPEND_ONLY = ("entry", "node", "tree_head", "cosignature")
_ENDING = """
SELECT (SELECT COALESCE(MAX(seq) + 1, 0) FROM entry),
  COALESCE((SELECT note FROM tree_head ORDER BY size DESC LIMIT 1), '')
"""
Values = Mapping[str, Any]
Run = Callable[[str, Values], list[Any]]
RunMany = Callable[[str, Sequence[Values]], None]


class Transaction:
    """One transaction on the tables. Writing works only in one that was opened for writing."""

    def __init__(self, run: Run, run_many: RunMany) -> None:
        self._run = run
        self._run_many = run_many

    def size(self) -> int:
        """Return the number of entries."""
        return int(self._run("SELECT COALESCE(MAX(seq) + 1, 0) FROM entry", {})[0][0])

    def ending(self) -> tuple[int, str]:
        """Return the number of entries, and the last tree head; no text if there is none."""
        size, note = self._run(_ENDING, {})[0]
        return int(size), str(note)

    def entry(self, seq: int) -> bytes:
        """Return the bytes of one entry.

        Raises:
            LogDamagedError: There is no such entry.
        """
        rows = self._run("SELECT body FROM entry WHERE seq = :seq", {"seq": seq})
        if not rows:
            raise LogDamagedError(f"the log has no entry {seq}")
        return bytes(rows[0][0])

    def node(self, level: int, seq: int) -> bytes:
        """Return the hash of a full subtree. Leaves are hashed anew, the rest is stored.

        Raises:
            LogDamagedError: There is no such node.
        """
        if level == 0:
            return merkle.leaf_hash(self.entry(seq))
        rows = self._run(
            "SELECT hash FROM node WHERE level = :level AND seq = :seq",
            {"level": level, "seq": seq},
        )
        if not rows:
            raise LogDamagedError(f"the log has no node {seq} at level {level}")
        return bytes(rows[0][0])

    def entries(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return (index, bytes) of the entries from ``start`` to before ``stop``, in order."""
        return self._range("SELECT seq, body FROM entry", "seq", start, stop)

    def openings(self, start: int, stop: int) -> list[tuple[int, str | None, bytes]]:
        """Return (index, owner, sealed body) of the openings that are still there, in order."""
        return self._range("SELECT seq, owner, body FROM opening", "seq", start, stop)

    def nodes(self, level: int, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return (index, hash) of stored nodes at one level, in order."""
        return self._run(
            "SELECT seq, hash FROM node "
            "WHERE level = :level AND seq >= :start AND seq < :stop ORDER BY seq",
            {"level": level, "start": start, "stop": stop},
        )

    def num_nodes(self) -> int:
        """Return the number of stored nodes."""
        return int(self._run("SELECT COUNT(*) FROM node", {})[0][0])

    def tree_heads(self, start: int, stop: int) -> list[tuple[int, str]]:
        """Return (size, note) of the tree heads of sizes from ``start`` to before ``stop``."""
        return self._range("SELECT size, note FROM tree_head", "size", start, stop)

    def tree_head(self, size: int) -> str | None:
        """Return the signed tree head of ``size`` entries, if one was signed."""
        rows = self.tree_heads(size, size + 1)
        return rows[0][1] if rows else None

    def largest_tree_head(self) -> int:
        """Return the size of the last tree head; 0 if there is none."""
        return int(self._run("SELECT COALESCE(MAX(size), 0) FROM tree_head", {})[0][0])

    def cosignatures(self, size: int) -> list[str]:
        """Return the signature lines that witnesses added to the tree head of ``size``."""
        sql = "SELECT line FROM cosignature WHERE size = :size ORDER BY key"
        return [row[0] for row in self._run(sql, {"size": size})]

    def last_cosigned(self) -> int:
        """Return the size of the last tree head with a cosignature; 0 if there is none."""
        return int(self._run("SELECT COALESCE(MAX(size), 0) FROM cosignature", {})[0][0])

    def add_entries(self, rows: Sequence[tuple[int, bytes, Sealed]]) -> None:
        """Add entries with their openings, at the end."""
        self._run_many(
            "INSERT INTO entry (seq, body) VALUES (:seq, :body)",
            [{"seq": seq, "body": body} for seq, body, _ in rows],
        )
        self._run_many(
            "INSERT INTO opening (seq, owner, body) VALUES (:seq, :owner, :body)",
            [{"seq": seq, "owner": s.owner, "body": s.body} for seq, _, s in rows],
        )

    def add_nodes(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Add full subtrees, as (level, index, hash); leaves are left out."""
        values = [{"level": at[0], "seq": at[1], "hash": at[2]} for at in rows if at[0]]
        if values:
            self._run_many(
                "INSERT INTO node (level, seq, hash) VALUES (:level, :seq, :hash)", values
            )

    def add_tree_head(self, size: int, note: str) -> None:
        """Add the signed head of all entries that are there now."""
        values = {"size": size, "note": note}
        self._run_many("INSERT INTO tree_head (size, note) VALUES (:size, :note)", [values])

    def add_cosignature(self, size: int, key: str, line: str) -> None:
        """Add a witness's signature line; a second one by the same key is left out."""
        self._run_many(
            "INSERT INTO cosignature (size, key, line) VALUES (:size, :key, :line) "
            "ON CONFLICT DO NOTHING",
            [{"size": size, "key": key, "line": line}],
        )

    def delete_openings(self, seqs: Sequence[int]) -> None:
        """Forget what entries open to. Their commitments, and every proof, stay."""
        self._run_many("DELETE FROM opening WHERE seq = :seq", [{"seq": seq} for seq in seqs])

    def _range(self, select: str, column: str, start: int, stop: int) -> list[Any]:
        return self._run(
            f"{select} WHERE {column} >= :start AND {column} < :stop ORDER BY {column}",
            {"start": start, "stop": stop},
        )


class Store(Protocol):
    """Where the tables are kept."""

    def create(self) -> None:
        """Make empty tables.

        Raises:
            FileExistsError: There is a log already.
        """
        ...

    def check_empty(self) -> None:
        """Check that a log can begin here.

        Raises:
            FileExistsError: There is a log already.
            FileNotFoundError: There are no tables to begin in.
        """
        ...

    def check_guards(self) -> None:
        """Check that what keeps the tables append-only was not dropped.

        Raises:
            LogDamagedError: It was.
        """
        ...

    def transaction(self, *, write: bool = False) -> AbstractContextManager[Transaction]:
        """Open one transaction; it sees all that was committed before it, and nothing after.

        Raises:
            FileNotFoundError: There is no log.
        """
        ...


def blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a range of indices into pieces of at most ``BLOCK``."""
    for low in range(start, stop, BLOCK):
        yield low, min(low + BLOCK, stop)
