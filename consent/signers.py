"""Who may sign what, as a verifier learns it from the entries of a log."""

from __future__ import annotations

from consent.entry import Entry
from consent.errors import RoleError
from consent.events import ConsentEvent
from consent.keys import VerifierKey
from consent.model import Role
from consent.roles import KeyRing


class Signers:
    """Checks signatures and roles entry by entry. Fulfils ``consent.verify.Keys``."""

    def __init__(self, log_key: VerifierKey) -> None:
        """Begin with the key that the log was published under."""
        self._first = log_key.key_id.hex()
        self._known = {self._first: log_key}
        self._ring = KeyRing()

    def check(self, entry: Entry) -> None:
        """Check the signature, and the signer's right to sign such an entry.

        Raises:
            ConsentError: It is not by a key that may sign it.
        """
        if entry.seq == 0 and entry.key != self._first:
            raise RoleError("the first entry is not signed by the log's own key")
        if entry.seq > 0:
            self._ring.check(entry.seq, entry.key, entry.type, None)
        entry.check(self._verifier(entry.key))

    def learn(self, entry: Entry, event: ConsentEvent) -> None:
        """Check what the entry committed to, and take note of keys that it adds or revokes.

        Raises:
            RoleError: Its signer may sign such entries, but not this one.
        """
        self._ring.take(entry.seq, entry.key, entry.type, event)

    def log_keys(self) -> list[VerifierKey]:
        """Return the keys that may sign tree heads."""
        keys = self._ring.keys
        added = [self._verifier(i) for i, k in keys.items() if k.role is Role.LOG]
        return added or [self._known[self._first]]

    def _verifier(self, key_id: str) -> VerifierKey:
        if key_id not in self._known:
            self._known[key_id] = VerifierKey.parse(self._ring.keys[key_id].vkey)
        return self._known[key_id]
