"""The erasable part of a consent log: openings sealed under one key per person.

Each person has a data key (AES-256-GCM). Data keys are kept in ``keystore.sqlite``, wrapped by the
key of the current epoch, which is kept in a file of its own. Erasing a person starts a new epoch:
the surviving data keys are wrapped anew in a new file and the old epoch's key is destroyed, so an
old backup of the keystore opens nothing, whoever has it.

What this cannot do: recall a backup of the epoch's key file. Keep no backup of ``keys/kek.key``
beside backups of the keystore, or keep it for a short time.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidTag

from consent.entry import Opening, Sealed
from consent.errors import MalformedError, VaultError
from consent.keystore import Keystore
from consent.model import SubjectEvent

SITE = ""  # owner of events that are about no person
NONCE_BYTES = 12


class Vault:
    """Seals and opens openings, and forgets people for good. Fulfils ``consent.entry.Sealer``."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    @classmethod
    def create(cls, keystore: Path, kek: Path) -> Vault:
        """Make an empty keystore and the key of its first epoch.

        Raises:
            KeyFileError: There is one already.
        """
        return cls(Keystore.create(keystore, kek, owners=[SITE, *_SECRETS]))

    @classmethod
    def open(cls, keystore: Path, kek: Path) -> Vault:
        """Open a keystore.

        Raises:
            KeyFileError: The key file is missing or readable by others.
            VaultError: The keystore is missing, or of another epoch.
        """
        return cls(Keystore.open(keystore, kek))

    def prepare(self, subject_ids: Iterable[str]) -> None:
        """Make the keys of new people, in one durable step."""
        self._keystore.add(subject_ids)

    def seal(self, seq: int, opening: Opening) -> Sealed:
        """Seal the opening of entry ``seq``, under the person's key or the site's."""
        event = opening.event
        owner = event.subject_id if isinstance(event, SubjectEvent) else None
        name = SITE if owner is None else owner
        cipher = self._keystore.cipher(name)
        if cipher is None:
            self._keystore.add([name])
            cipher = self._keystore.cipher(name)
            assert cipher is not None
        nonce = os.urandom(NONCE_BYTES)
        sealed = cipher.encrypt(nonce, opening.packed(), _bound_to(seq, name))
        return Sealed(owner, nonce + sealed)

    def unseal(self, seq: int, sealed: Sealed) -> Opening | None:
        """Open what ``seal`` made; None if the person's key was destroyed.

        Raises:
            VaultError: It was changed, or moved from another entry or person.
        """
        name = SITE if sealed.owner is None else sealed.owner
        cipher = self._keystore.cipher(name)
        if cipher is None:
            return None
        nonce, text = sealed.body[:NONCE_BYTES], sealed.body[NONCE_BYTES:]
        try:
            return Opening.parse(cipher.decrypt(nonce, text, _bound_to(seq, name)))
        except (InvalidTag, ValueError, MalformedError) as e:
            raise VaultError(f"entry {seq}: its opening was changed or is another entry's") from e

    def destroy(self, subject_ids: Iterable[str]) -> None:
        """Destroy people's keys and begin a new epoch."""
        self._keystore.destroy(subject_ids)

    def held(self, subject_ids: Iterable[str]) -> list[str]:
        """Return those of whom there is still a key."""
        owners = self._keystore.owners()
        return [s for s in subject_ids if s in owners]

    # --- finding a person again --------------------------------------------------------------

    def tag(self, outside_id: str) -> str:
        """Return what stands for an outside id in this site's log. Cannot be turned back."""
        text = " ".join(unicodedata.normalize("NFKC", outside_id).split())
        if not text:
            raise MalformedError("an outside id must not be empty")
        return self._hmac(_TAG, text)

    def account(self, name: str) -> str:
        """Return what stands for a desk account's name in this site's log."""
        self._keystore.add([_ACCOUNT])  # keystores of earlier versions have none
        return self._hmac(_ACCOUNT, name)[:16]

    def suppress(self, tag: str) -> None:
        """Remember that a person does not want to be registered again."""
        self._keystore.remember(self._hmac(_SUPPRESSION, tag))

    def is_suppressed(self, tag: str) -> bool:
        """Was ``suppress`` called for this tag?"""
        return self._keystore.remembers(self._hmac(_SUPPRESSION, tag))

    def _hmac(self, secret: str, text: str) -> str:
        label = f"omote/{secret}/v1\0".encode()
        return hmac.digest(self._keystore.secret(secret), label + text.encode(), "sha256")[
            :16
        ].hex()


# No subject id holds an "@".
_TAG, _SUPPRESSION, _ACCOUNT = "@tag", "@suppression", "@account"
_SECRETS = (_TAG, _SUPPRESSION, _ACCOUNT)


def _bound_to(seq: int, owner: str) -> bytes:
    """Bind a sealed opening to its entry and its person: rows cannot be swapped."""
    return b"omote/opening/v1\0" + seq.to_bytes(8, "big") + owner.encode()
