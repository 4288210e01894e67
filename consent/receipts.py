"""What a subject takes home: a signed receipt of one entry, with the proof that it is in the log.

A compact JWS (RFC 7515, Ed25519, typ ``consent-receipt+jwt``) around a DPV-27560 consent receipt.
It holds the entry's opening, so that the subject can show what was recorded, and a tlog-proof. A
receipt whose proof does not hold is worth nothing, whoever signed it.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from consent import merkle
from consent.dpv import CONTEXT, SCHEMA, STATUSES, Json, status_of, subject_records
from consent.entry import Entry, Opening, parse_entry
from consent.envelope import canonical_json, parse_json
from consent.errors import BadSignatureError, MalformedError, ProofError, RecordError
from consent.events import ConsentEvent, parse_event
from consent.keys import SigningKey
from consent.model import Purpose, Role, SubjectEvent
from consent.note import decode_base64
from consent.proof_file import TlogProof, make_proof, parse_proof
from consent.registry import Registry
from consent.snapshot import LogSnapshot
from consent.standing import Logged, SubjectState
from consent.trust import Trusted, TrustPolicy

TYPE = "consent-receipt+jwt"
ALGORITHM = "Ed25519"  # RFC 9864 took the place of the name EdDSA
MAX_RECEIPT_BYTES = 2_000_000


@dataclass(frozen=True)
class Receipt:
    """A receipt, whose signature was made or checked."""

    token: str  # the compact JWS
    payload: Json

    @property
    def identifier(self) -> str:
        """UUID of the receipt; the same however often it is issued."""
        return str(self.payload["dct:identifier"])

    @property
    def entry(self) -> Entry:
        """The log entry that it is about."""
        return parse_entry(decode_base64(self.payload["omote:entry"]))

    @property
    def proof(self) -> TlogProof:
        """The proof that came with it."""
        return parse_proof(self.payload["omote:proof"])


@dataclass(frozen=True)
class Checked:
    """A receipt that holds, and the tree head that it holds against."""

    receipt: Receipt
    trusted: Trusted
    event: ConsentEvent


def issue(registry: Registry, subject_id: str, index: int | None = None) -> Receipt:
    """Make the receipt of an entry about a person's consent.

    Args:
        registry: Of the site.
        subject_id: Whose receipt.
        index: Of the entry; None: the person's last answer.

    Raises:
        RecordError: There is no such person or entry, or they were erased.
    """
    state = registry.state()
    person = state.find(subject_id)
    if person.erased:
        raise RecordError(f"this person was erased at entry {person.erased.index}")
    item = _answer(person, index)
    snapshot = _best_snapshot(registry, item.index)
    opening = snapshot.opening(item.index)
    if opening is None:
        raise RecordError(f"entry {item.index} cannot be opened any more")
    key = registry.signing_key(Role.LOG)
    records = subject_records(state, subject_id, key.name, item.event.purposes)
    payload = _payload(registry.site, snapshot, item, opening, records, registry.now())
    return Receipt(_sign(payload, key), payload)


def check_receipt(token: str, policy: TrustPolicy, proof: TlogProof | None = None) -> Checked:
    """Check a receipt, offline.

    Args:
        token: The compact JWS.
        policy: Which logs to believe, and which witnesses must have cosigned.
        proof: A proof that is newer than the one inside.

    Raises:
        MalformedError: Not a receipt.
        BadSignatureError: Not signed by the log's key, or too few witnesses cosigned the head.
        ProofError: The entry is not in the log, or the receipt tells something else than it.
    """
    # (1) Signed by the log that it names.
    receipt = _open(token, policy)
    try:
        entry = receipt.entry
        body = canonical_json(receipt.payload["omote:event"])
        opening = Opening(decode_base64(receipt.payload["omote:salt"]), parse_event(body))
        proof = proof or receipt.proof
    except (KeyError, TypeError, AttributeError) as e:
        raise MalformedError("not a consent receipt: a field is missing") from e
    # (2) The entry commits to this event and no other.
    event = opening.event
    if opening.commitment() != entry.commit or opening.event.type != entry.type:
        raise ProofError(f"entry {entry.seq} does not commit to the event in this receipt")
    if not isinstance(event, SubjectEvent):
        raise ProofError(f"entry {entry.seq} is about no person")
    # (3) What the receipt says in words is what the event says.
    _check_records(receipt, event, entry)
    # (4) The proof is of this entry, in a log whose head satisfies the policy.
    if proof.index != entry.seq:
        raise ProofError(f"the proof is of entry {proof.index}, the receipt of entry {entry.seq}")
    trusted = proof.check(entry.body(), policy)
    if trusted.head.origin != receipt.payload["omote:log"]:
        raise ProofError("the proof is of another log than the receipt")
    return Checked(receipt, trusted, event)


def _best_snapshot(registry: Registry, index: int) -> LogSnapshot:
    """Return the newest head that witnesses cosigned, if it covers the entry; else the newest."""
    cosigned = registry.journal.replay.log.cosigned_snapshot()
    return cosigned if cosigned is not None and index < cosigned.size else registry.snapshot()


def _answer(person: SubjectState, index: int | None) -> Logged[Any]:
    history: list[Logged[Any]] = [*person.history]
    answers = [item for item in history if item.event.type in STATUSES]
    found = [item for item in answers if index is None or item.index == index]
    if not found:
        what = "no answer" if index is None else f"entry {index} is no answer"
        raise RecordError(f"{what} of this person; there is nothing to give a receipt of")
    return found[-1]


def _payload(
    site: str,
    snapshot: LogSnapshot,
    item: Logged[Any],
    opening: Opening,
    records: list[Json],
    now: datetime,
) -> Json:
    body = snapshot.entry(item.index)
    identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, merkle.leaf_hash(body).hex()))
    payload: Json = {
        "@context": CONTEXT,
        "@id": f"urn:uuid:{identifier}",
        "@type": "dpv:ConsentReceipt",
        "dct:identifier": identifier,
        "dct:created": now.isoformat(),
        "dct:publisher": site,
        "schema:recipient": "dpv:DataSubject",
        "dpv:hasRecordOfActivity": records,
        "omote:log": snapshot.tree_head.split("\n", 1)[0],
        "omote:entry": base64.b64encode(body).decode(),
        "omote:salt": base64.b64encode(opening.salt).decode(),
        "omote:event": json.loads(opening.body()),
        "omote:proof": make_proof(snapshot, item.index).text(),
    }
    profiles = {str(r.get("dct:conformsTo", "")).partition("#record")[2] for r in records}
    if all("dct:conformsTo" in r for r in records) and len(profiles) == 1:
        payload["dct:conformsTo"] = f"{SCHEMA}receipt{profiles.pop()}"
    return payload


def _sign(payload: Json, key: SigningKey) -> str:
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.verifier.key_id.hex()}
    private = OKPKey.import_key(key.private)
    token = jws.serialize_compact(header, canonical_json(payload), private, algorithms=[ALGORITHM])
    return str(token)


def _open(token: str, policy: TrustPolicy) -> Receipt:
    """Check the signature, then read the bytes that were signed."""
    if len(token) > MAX_RECEIPT_BYTES:
        raise MalformedError("receipt is too long")
    try:
        unchecked = jws.extract_compact(token.strip().encode())
        origin = parse_json(unchecked.payload)["omote:log"]
        header = unchecked.headers()
    except (JoseError, ValueError, TypeError, KeyError) as e:
        raise MalformedError("not a consent receipt: expected a compact JWS") from e
    if header.get("typ") != TYPE or header.get("alg") != ALGORITHM:
        raise MalformedError(f"expected a JWS of type {TYPE}, signed with {ALGORITHM}")
    if not isinstance(origin, str):
        raise MalformedError("the receipt does not name its log")
    keys = [k for k in policy.log_keys(origin) if k.key_id.hex() == header.get("kid")]
    if not keys:
        raise BadSignatureError(f"the receipt is signed by no key of {origin} that you trust")
    public = OKPKey.import_key(Ed25519PublicKey.from_public_bytes(keys[0].public))
    try:
        signed = jws.deserialize_compact(token.strip(), public, algorithms=[ALGORITHM])
    except (JoseError, ValueError) as e:
        raise BadSignatureError(f"the receipt's signature by {origin} is wrong") from e
    return Receipt(token.strip(), parse_json(signed.payload))


def _check_records(receipt: Receipt, event: SubjectEvent, entry: Entry) -> None:
    records = receipt.payload.get("dpv:hasRecordOfActivity")
    purposes: tuple[Purpose, ...] = getattr(event, "purposes", ())
    time = datetime.fromtimestamp(entry.t, UTC)
    try:
        told = {
            record["dpv:hasProcess"]["dpv:hasPurpose"]["@id"]: [
                status
                for status in record["dpv:hasConsentStatus"]
                if status["omote:entry"] == entry.seq
            ]
            for record in records or ()
            if record["dpv:hasDataSubject"]["dct:identifier"] == event.subject_id
        }
    except (KeyError, TypeError) as e:
        raise MalformedError("the records in this receipt are not readable") from e
    item = Logged(entry.seq, time, entry.key, event)
    want = {f"omote:{p}": [status_of(item, p)] for p in purposes}
    if told != want or not want or len(records or ()) != len(want):
        raise ProofError(f"the receipt tells something else than entry {entry.seq} says")
