"""What a site signs about one update, and how the server checks it.

An in-toto Statement (v1) in a DSSE envelope. It tells that the update rests on consent in a log
that only grew. It cannot prove that the manifest is honest: that takes an audit at the site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from consent import merkle
from consent.envelope import canonical_json, open_envelope, parse_json, sign_envelope
from consent.errors import AttestationError, LogRolledBackError, MalformedError, ProofError
from consent.keys import SigningKey, VerifierKey
from consent.model import Purpose
from consent.note import TreeHead, open_tree_head

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://omote.dev/attestation/update/v1"
_SHA256 = "^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogState(_Part):
    """The consent log when the round began and ended."""

    start_size: int = Field(ge=1)
    tree_head: str  # signed note, at the end
    consistency: tuple[str, ...]  # proof from the size that the server saw last, hex


class Privacy(_Part):
    """What noise was added. Epsilon comes as text with differential privacy."""

    mechanism: Literal["none"] = "none"


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
    consent: LogState
    privacy: Privacy = Privacy()
    code: str  # name and version of the software
    started_at: AwareDatetime
    ended_at: AwareDatetime


@dataclass(frozen=True)
class Expected:
    """What the server asked for and got."""

    site: str
    run_id: str
    round: int
    purpose: Purpose
    nonce: str
    model_in: str
    update: str
    min_subjects: int


def sign_attestation(attestation: Attestation, key: SigningKey) -> bytes:
    """Return the signed envelope."""
    predicate = attestation.model_dump(mode="json")
    subject = {"name": "update", "digest": {"sha256": predicate.pop("update")}}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return sign_envelope(PAYLOAD_TYPE, canonical_json(statement), key)


def verify_attestation(
    envelope: bytes,
    *,
    site_key: VerifierKey,
    log_key: VerifierKey,
    expected: Expected,
    last_head: TreeHead | None,
) -> tuple[Attestation, TreeHead]:
    """Check an attestation; return it and the tree head to remember.

    Raises:
        MalformedError: Not an attestation.
        BadSignatureError: Not signed by the site, or its tree head not by the site's log.
        AttestationError: Made for another site, round, purpose, model or update.
        LogRolledBackError: Its log does not extend ``last_head``.
    """
    # (1) signed by this site
    attestation = open_attestation(envelope, site_key)
    # (2) about this very update, asked for in this very round
    _check_expected(attestation, expected)
    # (3) resting on this site's consent log
    head = open_tree_head(attestation.consent.tree_head, log_key)
    # (4) which only grew
    if last_head is not None:
        _check_grown(last_head, head, attestation.consent.consistency)
    return attestation, head


def open_attestation(envelope: bytes, site_key: VerifierKey) -> Attestation:
    """Return the attestation that ``site_key`` signed, whatever it says.

    Raises:
        MalformedError: Not an attestation.
        BadSignatureError: Not signed by the site.
    """
    statement: Any = parse_json(open_envelope(envelope, PAYLOAD_TYPE, site_key))
    try:
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise MalformedError("not an attestation about an update")
        (subject,) = statement["subject"]
        update = subject["digest"]["sha256"]
        return Attestation.model_validate({**statement["predicate"], "update": update})
    except (TypeError, KeyError, ValueError, ValidationError) as e:
        raise MalformedError("not an attestation about an update") from e


def _check_expected(got: Attestation, want: Expected) -> None:
    checks = {
        "wrong_site": (got.site, want.site),
        "wrong_round": ((got.run_id, got.round, got.nonce), (want.run_id, want.round, want.nonce)),
        "wrong_purpose": (got.purpose, want.purpose),
        "wrong_model": (got.model_in, want.model_in),
        "wrong_update": (got.update, want.update),
    }
    for code, (is_, should) in checks.items():
        if is_ != should:
            raise AttestationError(code, f"expected {should}, got {is_}")
    if got.min_subjects < want.min_subjects:
        raise AttestationError("too_few_subjects", f"expected at least {want.min_subjects}")


def _check_grown(old: TreeHead, new: TreeHead, proof: tuple[str, ...]) -> None:
    try:
        hashes = [bytes.fromhex(h) for h in proof]
        merkle.verify_consistency(old.size, new.size, old.root, new.root, hashes)
    except (ProofError, ValueError) as e:
        raise LogRolledBackError(
            f"{new.origin}: {new.size} entries do not extend the {old.size} seen before"
        ) from e
