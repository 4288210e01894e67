"""The file of wrapped data keys, and the key that wraps them. Knows nothing of consent.

A new epoch is three renames: the key file with both epochs' keys, the keystore wrapped anew, the
key file with the new key alone. After a crash between any two the keystore can still be opened,
and ``open`` finishes what was begun.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent import private_file
from consent.errors import VaultError

BUSY_TIMEOUT_S = 5.0
_TABLES = (
    "CREATE TABLE dek (owner TEXT PRIMARY KEY, epoch INTEGER NOT NULL, wrapped BLOB NOT NULL) "
    "STRICT, WITHOUT ROWID",
    "CREATE TABLE suppressed (tag TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
)
_NONCE_BYTES = 12
_TRIES = 5
T = TypeVar("T")


class Keystore:
    """Data keys by owner. Keeps what it read in memory until the next epoch begins."""

    def __init__(self, path: Path, kek: Path) -> None:
        self._path, self._kek, self._kek_name = path, kek, str(kek)
        self._epoch_file: tuple[int, int] | None = None
        self._keys: dict[str, bytes] = {}
        self._ciphers: dict[str, AESGCM] = {}

    @classmethod
    def create(cls, path: Path, kek: Path, owners: Iterable[str]) -> Keystore:
        """Make a keystore with new keys for ``owners``.

        Raises:
            KeyFileError: One of the two files is there already.
        """
        private_file.write_new(path, b"")
        private_file.write_new(kek, _encode({1: AESGCM.generate_key(256)}))
        db = _connect(path)
        try:
            for statement in _TABLES:
                db.execute(statement)
        finally:
            db.close()
        store = cls(path, kek)
        store.add(owners)
        return store

    @classmethod
    def open(cls, path: Path, kek: Path) -> Keystore:
        """Open a keystore; finish a change of epochs that was interrupted.

        Raises:
            KeyFileError: The key file is missing or readable by others.
            VaultError: The keystore is missing, or of another epoch than the key file.
        """
        store = cls(path, kek)
        if not path.exists():
            raise VaultError(f"no keystore at {path}; without it no consent record can be opened")
        if len(epochs := store._epochs()) > 1:
            (used,) = store._read(lambda db: db.execute("SELECT MAX(epoch) FROM dek").fetchone())
            private_file.replace(kek, _encode({used: epochs[used]}))
        return store

    def add(self, owners: Iterable[str]) -> None:
        """Make keys for owners that have none, in one durable step."""
        self._notice_epoch()
        new = [o for o in dict.fromkeys(owners) if o not in self._keys]

        def insert(db: sqlite3.Connection) -> dict[str, bytes]:
            epochs = self._epochs()
            epoch = max(epochs)
            wrapper = AESGCM(epochs[epoch])
            rows = [(o, epoch, _wrap(wrapper, o, AESGCM.generate_key(256))) for o in new]
            db.executemany("INSERT OR IGNORE INTO dek VALUES (?, ?, ?)", rows)
            query = "SELECT owner, epoch, wrapped FROM dek WHERE owner = ?"
            found = [db.execute(query, (o,)).fetchone() for o in new]
            return {o: _unwrap(epochs, o, e, w) for o, e, w in found}

        if new:
            self._keys.update(self._write(insert))

    def owners(self) -> set[str]:
        """Return everyone who has a key."""
        return {
            row[0] for row in self._read(lambda db: db.execute("SELECT owner FROM dek").fetchall())
        }

    def cipher(self, owner: str) -> AESGCM | None:
        """Return an owner's cipher, or None if there is no key.

        Raises:
            VaultError: The key was changed, or moved from another owner.
        """
        key = self._key(owner)
        if key is None:
            return None
        if owner not in self._ciphers:
            self._ciphers[owner] = AESGCM(key)
        return self._ciphers[owner]

    def secret(self, owner: str) -> bytes:
        """Return an owner's key itself, for what is no encryption.

        Raises:
            VaultError: There is none.
        """
        key = self._key(owner)
        if key is None:
            raise VaultError("the keystore lacks the site's own secrets; is it of another site?")
        return key

    def destroy(self, owners: Iterable[str]) -> None:
        """Destroy the keys of some owners: a new epoch in a new file, the old ones wiped."""
        gone, epochs = set(owners), self._epochs()
        old = max(epochs)
        fresh = AESGCM.generate_key(256)

        def move(db: sqlite3.Connection) -> None:
            tags = db.execute("SELECT tag FROM suppressed").fetchall()
            rows = [
                (
                    owner,
                    old + 1,
                    _wrap(AESGCM(fresh), owner, _unwrap(epochs, owner, epoch, wrapped)),
                )
                for owner, epoch, wrapped in db.execute("SELECT owner, epoch, wrapped FROM dek")
                if owner not in gone
            ]
            private_file.replace(self._kek, _encode({**epochs, old + 1: fresh}))
            self._replace(rows, tags)
            db.execute("DELETE FROM dek")  # of the old file: nobody can find it any more

        # No journal file: it would lie beside the new file and be taken for that one's own.
        self._run("BEGIN EXCLUSIVE", move, journal="MEMORY")
        private_file.replace(self._kek, _encode({old + 1: fresh}))

    def remember(self, tag: str) -> None:
        """Keep a tag."""
        self._write(lambda db: db.execute("INSERT OR IGNORE INTO suppressed VALUES (?)", (tag,)))

    def remembers(self, tag: str) -> bool:
        """Was the tag kept?"""
        query = "SELECT COUNT(*) FROM suppressed WHERE tag = ?"
        return bool(self._read(lambda db: db.execute(query, (tag,)).fetchone()[0]))

    def _notice_epoch(self) -> None:
        """Read the keystore if a new epoch began, here or in another process."""
        seen = os.stat(self._kek_name)  # noqa: PTH116 - asked for every record that is opened
        if self._epoch_file != (seen.st_ino, seen.st_mtime_ns):
            self._keys, self._ciphers = {}, {}
            self._keys.update(self._opened("SELECT owner, epoch, wrapped FROM dek"))
            self._epoch_file = (seen.st_ino, seen.st_mtime_ns)

    def _key(self, owner: str) -> bytes | None:
        self._notice_epoch()
        if owner not in self._keys:  # another process may have added it
            query = "SELECT owner, epoch, wrapped FROM dek WHERE owner = ?"
            self._keys.update(self._opened(query, owner))
        return self._keys.get(owner)

    def _opened(self, query: str, *values: str) -> dict[str, bytes]:
        def unwrap(db: sqlite3.Connection) -> dict[str, bytes]:
            epochs = self._epochs()
            return {o: _unwrap(epochs, o, e, w) for o, e, w in db.execute(query, values)}

        return self._read(unwrap)

    def _epochs(self) -> dict[int, bytes]:
        try:
            kept = json.loads(private_file.read(self._kek))
            return {int(epoch): bytes.fromhex(key) for epoch, key in kept.items()}
        except (ValueError, AttributeError) as e:
            raise VaultError(f"{self._kek}: not a key file of a keystore") from e

    def _replace(self, rows: list[tuple[str, int, bytes]], tags: list[tuple[str]]) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.draft")
        draft.unlink(missing_ok=True)
        private_file.write_new(draft, b"")
        db = _connect(draft)
        try:
            for statement in _TABLES:
                db.execute(statement)
            db.execute("BEGIN")
            db.executemany("INSERT INTO dek VALUES (?, ?, ?)", rows)
            db.executemany("INSERT INTO suppressed VALUES (?)", tags)
            db.execute("COMMIT")
        finally:
            db.close()
        draft.replace(self._path)
        private_file.sync_folder(self._path.parent)

    def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return self._run("BEGIN EXCLUSIVE", change)

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return self._run("BEGIN", query)

    def _run(
        self, begin: str, what: Callable[[sqlite3.Connection], T], journal: str = "DELETE"
    ) -> T:
        """Run in one transaction on the file that is in place when it begins."""
        for attempt in range(_TRIES):
            place = self._path.stat().st_ino
            db = _connect(self._path, journal)
            try:
                db.execute(begin)
                db.execute("SELECT 1 FROM dek").fetchone()  # now the file is locked
                if self._path.stat().st_ino != place:
                    continue
                result = what(db)
                db.execute("COMMIT")
                return result
            except (sqlite3.DatabaseError, VaultError):
                # A new epoch may have begun between two reads.
                if attempt == _TRIES - 1:
                    raise
            finally:
                db.close()
        raise VaultError(f"{self._path} is replaced again and again; is another program erasing?")


def _connect(path: Path, journal: str = "DELETE") -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.execute("PRAGMA synchronous = EXTRA")
    db.execute("PRAGMA secure_delete = ON")
    return db


def _encode(epochs: dict[int, bytes]) -> bytes:
    return json.dumps({str(epoch): key.hex() for epoch, key in epochs.items()}).encode()


def _wrap(wrapper: AESGCM, owner: str, key: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + wrapper.encrypt(nonce, key, b"omote/dek/v1\0" + owner.encode())


def _unwrap(epochs: dict[int, bytes], owner: str, epoch: int, wrapped: bytes) -> bytes:
    if epoch not in epochs:
        raise VaultError("the keystore is of another epoch than its key file: was one restored?")
    nonce, text = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
    try:
        return AESGCM(epochs[epoch]).decrypt(nonce, text, b"omote/dek/v1\0" + owner.encode())
    except InvalidTag as e:
        raise VaultError("a wrapped key was changed or is another person's") from e
