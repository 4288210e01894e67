"""What a site signs about one update: an in-toto Statement (v1) in a DSSE envelope.

It tells that the update rests on consent in a log that only grew. It cannot prove that the manifest
is honest, nor that the noise was added: that takes an audit at the site.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from consent.envelope import canonical_json, open_envelope, parse_json, sign_envelope
from consent.epsilon import NoNoise, Privacy
from consent.errors import MalformedError
from consent.keys import SigningKey, VerifierKey
from consent.model import Purpose

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://omote.dev/attestation/update/v1"
MAX_PROOF = 64  # hashes; a log of 2^63 entries needs no more
_SHA256 = "^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogState(_Part):
    """The consent log when the round began and when it ended. Tree heads are signed notes."""

    start_head: str
    tree_head: str  # at the end
    since_start: tuple[str, ...] = Field(max_length=MAX_PROOF)  # the end extends the start, hex
    consistency: tuple[str, ...] = Field(max_length=MAX_PROOF)  # and what the server saw last, hex


class FrameCount(_Part):
    """Labelled frames of one AU; AU 0 in pretraining: all frames."""

    au: int = Field(ge=0)
    frames: int = Field(ge=0)


class Counts(_Part):
    """Numbers that the plan weights by. Only there if the site allows it (caps.may_send_counts)."""

    recordings: int = Field(ge=1)  # leaves of the manifest
    frames: tuple[FrameCount, ...]

    def by_au(self) -> dict[int, int]:
        """Return the frames of each AU."""
        return {count.au: count.frames for count in self.frames}


class Code(_Part):
    """What ran. The digest is over the installed source files: a declaration, not a proof."""

    name: str  # name and version
    sha256: str = Field(pattern=_SHA256)


class Attestation(_Part):
    """A site's statement about one update. Holds no personal data and no count of people."""

    site: str
    run_id: str
    round: int
    purpose: Purpose
    nonce: str
    model_in: str = Field(pattern=_SHA256)
    update: str = Field(pattern=_SHA256)
    labelled_aus: tuple[int, ...]
    manifest: str = Field(pattern=_SHA256)
    min_subjects: int = Field(ge=1)  # at least so many people took part
    counts: Counts | None = None
    consent: LogState
    policy: str | None = Field(None, pattern=_SHA256)  # rules in force at the site; None: none set
    privacy: Privacy = NoNoise()
    code: Code
    previous: str | None = Field(None, pattern=_SHA256)  # the site's last one that was admitted
    started_at: AwareDatetime
    ended_at: AwareDatetime


@dataclass(frozen=True)
class Opened:
    """A statement, and the digest that names it: SHA-256 of the bytes that were signed."""

    attestation: Attestation
    digest: str


def sign_attestation(attestation: Attestation, key: SigningKey) -> bytes:
    """Return the signed envelope."""
    return sign_envelope(PAYLOAD_TYPE, _statement(attestation), key)


def attestation_digest(attestation: Attestation) -> str:
    """Return the digest that names an attestation."""
    return hashlib.sha256(_statement(attestation)).hexdigest()


def open_attestation(envelope: bytes, site_key: VerifierKey) -> Opened:
    """Return the attestation that ``site_key`` signed, whatever it says.

    Raises:
        MalformedError: Not an attestation, or not in its one byte form.
        BadSignatureError: Not signed by the site.
    """
    payload = open_envelope(envelope, PAYLOAD_TYPE, site_key)
    statement: Any = parse_json(payload)
    try:
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise MalformedError("not an attestation about an update")
        (subject,) = statement["subject"]
        update = subject["digest"]["sha256"]
        attestation = Attestation.model_validate({**statement["predicate"], "update": update})
        if _statement(attestation) != payload:
            raise MalformedError("attestation is not in its canonical form")
    except (TypeError, KeyError, ValueError, ValidationError) as e:
        raise MalformedError("not an attestation about an update") from e
    return Opened(attestation, hashlib.sha256(payload).hexdigest())


def _statement(attestation: Attestation) -> bytes:
    predicate = attestation.model_dump(mode="json")
    subject = {"name": "update", "digest": {"sha256": predicate.pop("update")}}
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )
