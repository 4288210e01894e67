"""Whose signature an entry or a tree head needs, as the entries before it tell."""

from __future__ import annotations

from consent.entry import Entry
from consent.errors import LogDamagedError
from consent.events import ConsentEvent
from consent.keys import VerifierKey
from consent.model import Role
from consent.roles import MAY_SIGN, KeyRing
from consent.site_events import KeyAdded

# Types of events that change who may sign.
LEARNED = ("key.added", "key.revoked", "entry.countersigned")


class Signers:
    """The keys of a log, as it is read from the beginning."""

    def __init__(self) -> None:
        self._ring = KeyRing()
        self._parsed: dict[str, VerifierKey] = {}
        self.first: VerifierKey | None = None  # the log's own, from entry 0

    def check(self, index: int, entry: Entry, event: ConsentEvent | None) -> None:
        """Check an entry's signature and its signer's role, and learn from it.

        Raises:
            ConsentError: It is not by a key that may sign it.
        """
        if entry.type not in MAY_SIGN:
            raise LogDamagedError(f"there is no event of type {entry.type}")
        self._ring.check(index, entry.key, entry.type, event)
        if index == 0 and isinstance(event, KeyAdded):
            self.first = VerifierKey.parse(event.vkey)
        entry.check(self._key(entry.key) if index else self._first())
        self._ring.apply(index, entry.key, event)

    def learn(self, index: int, entry: Entry, event: ConsentEvent) -> None:
        """Take in an event of a ``LEARNED`` type that was checked in an earlier pass."""
        if index == 0 and isinstance(event, KeyAdded):
            self.first = VerifierKey.parse(event.vkey)
        self._ring.apply(index, entry.key, event)

    def log_keys(self, size: int) -> list[VerifierKey]:
        """Return the keys that may sign the tree head of ``size`` entries."""
        return [
            self._key(key_id)
            for key_id, key in self._ring.keys.items()
            if key.role is Role.LOG and key.is_active(size)
        ]

    def _first(self) -> VerifierKey:
        assert self.first is not None  # the ring let entry 0 through
        return self.first

    def _key(self, key_id: str) -> VerifierKey:
        if key_id not in self._parsed:
            self._parsed[key_id] = VerifierKey.parse(self._ring.keys[key_id].vkey)
        return self._parsed[key_id]
