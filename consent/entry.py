"""One entry of the consent log: a signed commitment. What it commits to is kept elsewhere.

The log can be shown to anyone: an entry holds a salted hash, no person and no purpose. The opening
(salt and event) stays at the site and can be deleted without breaking a single proof.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consent.envelope import canonical_json, parse_json, pre_authentication_encoding
from consent.errors import MalformedError
from consent.events import ConsentEvent, event_bytes, parse_event
from consent.keys import SigningKey, VerifierKey
from consent.note import decode_base64

PAYLOAD_TYPE = "application/vnd.omote.consent-entry+json;version=1"
SALT_BYTES = 32
MAX_ENTRY_BYTES = 65_535  # tlog-tiles prefixes entries with 16 bits


@dataclass(frozen=True)
class Opening:
    """What a commitment opens to."""

    salt: bytes  # 32 random bytes: the event cannot be guessed from the commitment
    event: ConsentEvent
    _read_from: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, event: ConsentEvent) -> Opening:
        """Return an opening with a new salt."""
        return cls(secrets.token_bytes(SALT_BYTES), event, event_bytes(event))

    @classmethod
    def parse(cls, data: bytes) -> Opening:
        """Read what ``packed`` returned. It commits to these very bytes.

        Raises:
            MalformedError: Not an opening.
        """
        body = data[SALT_BYTES:]
        return cls(data[:SALT_BYTES], parse_event(body), body)

    def packed(self) -> bytes:
        """Return salt and event as bytes, to be sealed."""
        return self.salt + self.body()

    def body(self) -> bytes:
        """The event's one byte form."""
        return event_bytes(self.event) if self._read_from is None else self._read_from

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
            MalformedError: It is not in canonical base64.
        """
        signer.check(self.signed_bytes(), decode_base64(self.sig))


def make_entry(opening: Opening, seq: int, time_s: int, signer: SigningKey) -> bytes:
    """Return the bytes of a signed entry that commits to ``opening``.

    They are spelt out here, as ``canonical_json`` would write them: nothing in them needs an
    escape, and the encoder would take longer than the signature.
    """
    key_id = signer.verifier.key_id.hex()
    head = f'{{"commit":"{opening.commitment()}","key":"{key_id}","seq":{seq},'
    rest = f'"t":{time_s},"type":"{opening.event.type}","v":1}}'
    payload = (head + rest).encode()
    signature = signer.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return f'{head}"sig":"{base64.b64encode(signature).decode()}",{rest}'.encode()


def parse_entry(body: bytes) -> Entry:
    """Read an entry of the log.

    Raises:
        MalformedError: Not an entry in its one byte form.
    """
    value = parse_json(body)
    try:
        entry = Entry.model_validate(value, strict=True)
    except ValidationError as e:
        raise MalformedError("not a log entry") from e
    if canonical_json(value) != body or len(value) != len(Entry.model_fields):
        raise MalformedError("log entry is not in its canonical form")
    return entry
