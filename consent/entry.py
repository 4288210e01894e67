"""One entry of the consent log: a signed commitment. What it commits to is kept elsewhere.

The log can be shown to anyone: an entry holds a salted hash, no person and no purpose. The opening
(salt and event) stays at the site and can be deleted without breaking a single proof.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consent.envelope import canonical_json, parse_json, pre_authentication_encoding
from consent.errors import MalformedError
from consent.events import ConsentEvent, event_bytes
from consent.keys import SigningKey, VerifierKey

PAYLOAD_TYPE = "application/vnd.omote.consent-entry+json;version=1"
MAX_ENTRY_BYTES = 65_535  # tlog-tiles prefixes entries with 16 bits


@dataclass(frozen=True)
class Opening:
    """What a commitment opens to."""

    salt: bytes  # 32 random bytes: the event cannot be guessed from the commitment
    event: ConsentEvent

    @classmethod
    def of(cls, event: ConsentEvent) -> Opening:
        """Return an opening with a new salt."""
        return cls(secrets.token_bytes(32), event)

    def body(self) -> bytes:
        """The event's one byte form."""
        return event_bytes(self.event)

    def commitment(self) -> str:
        """SHA-256 over a label, the salt and the event, in hex."""
        return hashlib.sha256(b"omote/commit/v1\0" + self.salt + self.body()).hexdigest()


@dataclass(frozen=True)
class Sealed:
    """An opening as it is kept: whose it is, and bytes that only a vault can read."""

    owner: str | None  # subject id; None: of no single person, never erased
    body: bytes


class Sealer(Protocol):
    """Keeps openings unreadable to others, and forgets those of an erased person."""

    def seal(self, seq: int, opening: Opening) -> Sealed:
        """Seal the opening of entry ``seq``."""
        ...

    def unseal(self, seq: int, sealed: Sealed) -> Opening | None:
        """Return the opening of entry ``seq``; None if it was erased.

        Raises:
            ConsentError: It was sealed for another entry or person, or changed.
        """
        ...


class Entry(BaseModel):
    """The public part, as it stands in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    v: int = Field(1, ge=1, le=1)
    type: str
    seq: int = Field(ge=0)  # index in the log
    t: int = Field(ge=0)  # unix seconds, never less than the entry before
    commit: str = Field(pattern="^[0-9a-f]{64}$")
    key: str = Field(pattern="^[0-9a-f]{8}$")  # key id of the signer
    sig: str

    def signed_bytes(self) -> bytes:
        """What the signer signs: the entry without its signature, as DSSE encodes it."""
        payload = canonical_json(self.model_dump(exclude={"sig"}))
        return pre_authentication_encoding(PAYLOAD_TYPE, payload)

    def body(self) -> bytes:
        """The bytes that are hashed into the tree."""
        return canonical_json(self.model_dump())

    def check(self, signer: VerifierKey) -> None:
        """Check the signature.

        Raises:
            BadSignatureError: It is not by ``signer``.
        """
        signer.check(self.signed_bytes(), base64.b64decode(self.sig))


def make_entry(opening: Opening, seq: int, time_s: int, signer: SigningKey) -> Entry:
    """Sign an entry that commits to ``opening``."""
    unsigned = Entry(
        type=opening.event.type,
        seq=seq,
        t=time_s,
        commit=opening.commitment(),
        key=signer.verifier.key_id.hex(),
        sig="",
    )
    signature = base64.b64encode(signer.sign(unsigned.signed_bytes())).decode()
    return unsigned.model_copy(update={"sig": signature})


def parse_entry(body: bytes) -> Entry:
    """Read an entry of the log.

    Raises:
        MalformedError: Not an entry in its one byte form.
    """
    try:
        entry = Entry.model_validate(parse_json(body))
    except ValidationError as e:
        raise MalformedError("not a log entry") from e
    if entry.body() != body:
        raise MalformedError("log entry is not in its canonical form")
    return entry
