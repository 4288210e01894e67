"""The key files of a site: one folder, one or more files for each role, readable by their owner.

A file may be taken away: a data-protection officer keeps theirs on a card, root keys lie in a safe.
What is not there cannot sign; what the log revoked is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from consent.errors import KeyFileError
from consent.keys import SigningKey
from consent.model import Role
from consent.roles import KeyRing


def key_name(site: str, role: Role) -> str:
    """Return the name of a site's keys of one role; the log's own is the log's name."""
    return f"{site}/consent-log" if role is Role.LOG else f"{site}/{role}"


@dataclass(frozen=True)
class SiteKeys:
    """The folder ``keys`` of a site."""

    folder: Path

    def save(self, role: Role, key: SigningKey) -> Path:
        """Write a new key beside those that are there; return its file."""
        path = self.folder / f"{role}.key"
        if path.exists():
            path = self.folder / f"{role}-{key.verifier.key_id.hex()}.key"
        key.save(path)
        return path

    def at_hand(self, role: Role) -> list[SigningKey]:
        """Return the keys of a role whose files are here.

        Raises:
            KeyFileError: A file can be read by others, or is not a key.
        """
        paths = sorted({*self.folder.glob(f"{role}.key"), *self.folder.glob(f"{role}-*.key")})
        return [_load(path, path.stat().st_ctime_ns) for path in paths]

    def active(self, role: Role, ring: KeyRing, index: int) -> list[SigningKey]:
        """Return those keys at hand that may sign entry ``index``, the newest first.

        Raises:
            KeyFileError: A file can be read by others, or is not a key.
        """
        known = {k.verifier.key_id.hex(): k for k in self.at_hand(role)}
        found = [
            (state.added, known[key_id])
            for key_id, state in ring.keys.items()
            if key_id in known and state.role is role and state.is_active(index)
        ]
        return [key for _, key in sorted(found, key=lambda pair: -pair[0])]

    def first(self, roles: Sequence[Role], ring: KeyRing, index: int) -> SigningKey:
        """Return the key to sign entry ``index`` with: of the first role that has one here.

        Raises:
            KeyFileError: No key of these roles is here that may sign it.
        """
        for role in roles:
            if keys := self.active(role, ring, index):
                return keys[0]
        names = " or ".join(roles)
        raise KeyFileError(f"no valid key of the role {names} is at hand in {self.folder}")


@lru_cache(maxsize=256)
def _load(path: Path, _changed_ns: int) -> SigningKey:
    return SigningKey.load(path)
