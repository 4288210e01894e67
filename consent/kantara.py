"""Kantara consent receipts v1.1.0, for those who have them: written and read.

The format knows no refusals, no relation and no version of a notice; what it lacks must be told
when one is read. DPV (``consent.dpv``) is the native form.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from consent.dpv import Json
from consent.envelope import parse_json
from consent.errors import MalformedError, RecordError
from consent.intake import Answer, Problem, read_answer
from consent.model import Grant, NoticeTerms, Purpose, Relation
from consent.standing import NoticeState
from consent.state import State, Status, decide
from consent.subject_events import ConsentGiven

VERSION = "KI-CR-v1.1.0"
UNTIL_WITHDRAWN = "until withdrawn"
_CATEGORIES = {Purpose.ONWARD_SHARING: "10 - 3rd Party Sharing for Core Function"}


def export_receipt(state: State, subject_id: str, site: str, log_vkey: str, at: datetime) -> Json:
    """Return a receipt of what a person agrees to now.

    Raises:
        RecordError: Nothing is agreed to, on several notices, or on one without terms.
    """
    person = state.find(subject_id)
    given: list[tuple[Purpose, int, datetime, ConsentGiven]] = []
    for purpose in Purpose:
        if decide(state, subject_id, purpose, at).status is Status.ALLOWED:
            item = person.answers[purpose]
            assert isinstance(item.event, ConsentGiven), "nothing else allows"
            given.append((purpose, item.index, item.time, item.event))
    if not given:
        raise RecordError("this person agrees to nothing now; a Kantara receipt cannot say that")
    notices = {event.notice for *_, event in given}
    if len(notices) > 1:
        raise RecordError("consent rests on several notices; a Kantara receipt can name one")
    (ref,) = notices
    shown = state.notices.get(ref.notice_id, NoticeState()).find(ref)
    if shown is None or shown.event.terms is None:
        raise RecordError(f"notice {ref.notice_id!r} has no terms: who controls, where, how long")
    assert person.registered is not None
    terms = shown.event.terms
    _, last, time, _ = max(given, key=lambda item: item[1])
    name = f"{log_vkey}/{subject_id}/{last}"
    return {
        "version": VERSION,
        "jurisdiction": person.registered.event.jurisdiction,
        "consentTimestamp": int(time.timestamp()),
        "collectionMethod": terms.collection_method or "asked in person",
        "consentReceiptID": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "publicKey": log_vkey,
        "language": ref.language,
        "piiPrincipalId": subject_id,
        "piiControllers": [
            {
                "piiController": party.name,
                "contact": party.contact,
                "address": {"streetAddress": party.address},
            }
            for party in terms.controllers
        ],
        "policyUrl": f"urn:omote:notice:{ref.notice_id}:{ref.version}:{ref.language}:{ref.sha256}",
        "services": [
            {
                "service": site,
                "purposes": [_purpose(p, event, terms) for p, *_, event in given],
            }
        ],
        "sensitive": True,
        "spiCat": ["biometric"],
    }


def read_receipt(
    data: bytes, relation: Relation, notice: tuple[str, int, str] | None
) -> Iterator[tuple[int, Answer | Problem]]:
    """Yield the number of each purpose, from 1, and its answer. The file itself is the evidence.

    Args:
        data: The receipt.
        relation: What the person is to the site.
        notice: Id, version and language of the text that was shown, if the receipt names none.

    Raises:
        MalformedError: Not a Kantara receipt of this version.
    """
    receipt = parse_json(data)
    if not isinstance(receipt, dict) or receipt.get("version") != VERSION:
        raise MalformedError(f"expected a consent receipt of version {VERSION}")
    try:
        common = {
            "outside_id": receipt["piiPrincipalId"],
            "relation": relation,
            "jurisdiction": receipt["jurisdiction"],
            "evidence": hashlib.sha256(data).hexdigest(),
            "answer": "given",
        } | _shown(receipt, notice)
        purposes = [p for service in receipt["services"] for p in service["purposes"]]
    except (KeyError, TypeError, ValueError) as e:
        raise MalformedError("a field of the receipt is missing or of another form") from e
    for number, purpose in enumerate(purposes, start=1):
        yield number, _read(number, purpose, common)


def _purpose(purpose: Purpose, event: ConsentGiven, terms: NoticeTerms) -> Json:
    value: Json = {
        "purpose": purpose.value,
        "purposeCategory": [_CATEGORIES.get(purpose, "1 - Core Function")],
        "consentType": "EXPLICIT",
        "piiCategory": ["3 - Biometric"],
        "primaryPurpose": purpose in (Purpose.PRETRAINING, Purpose.FINETUNING),
        "termination": _termination(event.grant(purpose)),
        "thirdPartyDisclosure": bool(terms.recipients),
    }
    if terms.recipients:
        value["thirdPartyName"] = ", ".join(party.name for party in terms.recipients)
    return value


def _termination(grant: Grant) -> str:
    """Say when it ends, and the limits that the format lacks: so no import can lose them."""
    end = grant.expires_at.isoformat() if grant.expires_at else UNTIL_WITHDRAWN
    limits = grant.conditions.model_dump(mode="json", exclude_defaults=True)
    return end + "".join(f"; {name} {value}" for name, value in limits.items())


def _shown(receipt: Json, notice: tuple[str, int, str] | None) -> dict[str, object]:
    """What the receipt says was shown, or else what the caller says."""
    prefix, _, name = str(receipt.get("policyUrl", "")).partition("urn:omote:notice:")
    if not prefix and name:
        notice_id, version, language, digest = name.rsplit(":", 3)
        return {
            "notice": notice_id,
            "version": int(version),
            "language": language,
            "notice_sha256": digest,
        }
    if notice is None:
        raise MalformedError(
            "the receipt does not say which published notice was shown; tell: "
            "--notice ID:VERSION:LANGUAGE"
        )
    return dict(zip(("notice", "version", "language"), notice, strict=True))


def _read(number: int, purpose: Any, common: dict[str, object]) -> Answer | Problem:
    if not isinstance(purpose, dict):
        return Problem(number, "expected an object")
    if purpose.get("consentType") != "EXPLICIT":
        return Problem(number, "consent that is not EXPLICIT is no consent here")
    # An opt-in, as Kantara has it, is less than explicit consent in the sense of GDPR, Article 9.
    values = common | {"purpose": purpose.get("purpose"), "kind": "expressed"}
    if purpose.get("termination") != UNTIL_WITHDRAWN:
        values["expires_at"] = purpose.get("termination")
        if values["expires_at"] is None:
            return Problem(number, "termination: not said; consent must have an end that is known")
    return read_answer(number, values)
