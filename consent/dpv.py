"""Consent records as ISO/IEC TS 27560:2023 has them, in the words of DPV 2.3 (JSON-LD).

One record is about one person and one purpose, as in the guide of the W3C Data Privacy Vocabularies
group (https://w3id.org/dpv/guides/consent-27560). A record claims a profile only if the notice was
published with the terms that the profile asks for.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from consent.errors import RecordError
from consent.model import Conditions, ConsentKind, NoticeRef, NoticeTerms, Party, Purpose, Relation
from consent.rulebook import RuleSet, shipped_sets
from consent.standing import Logged, NoticeState, SubjectState
from consent.state import State
from consent.subject_events import (
    ConsentEnded,
    ConsentGiven,
    ConsentRefused,
    ConsentRequested,
    ConsentWithdrawn,
)

SCHEMA = "https://w3id.org/dpv/schema/dpv-27560#"
CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "pd": "https://w3id.org/dpv/pd#",
    "loc": "https://w3id.org/dpv/loc#",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "schema": "https://schema.org/",
    "omote": "urn:omote:",
}
PURPOSES = {
    Purpose.PRETRAINING: "dpv:ResearchAndDevelopment",
    Purpose.FINETUNING: "dpv:ResearchAndDevelopment",
    Purpose.EVALUATION: "dpv:ResearchAndDevelopment",
    Purpose.COMMERCIAL_USE: "dpv:CommercialPurpose",
    Purpose.ONWARD_SHARING: "dpv:ResearchAndDevelopment",
    Purpose.PUBLICATION: "dpv:ResearchAndDevelopment",
}
RELATIONS = {
    Relation.VOLUNTEER: "dpv:Participant",
    Relation.PATIENT: "dpv:Patient",
    Relation.EMPLOYEE: "dpv:Employee",
    Relation.APPLICANT: "dpv:JobApplicant",
    Relation.STUDENT: "dpv:Student",
    Relation.CUSTOMER: "dpv:Customer",
}
KINDS = {
    ConsentKind.EXPRESSED: ["dpv:ExpressedConsent"],
    ConsentKind.EXPLICIT: ["dpv:ExplicitlyExpressedConsent"],
    ConsentKind.WRITTEN_RELEASE: ["dpv:ExplicitlyExpressedConsent", "omote:WrittenRelease"],
}
STATUSES = {
    "consent.requested": "dpv:ConsentRequested",
    "consent.given": "dpv:ConsentGiven",
    "consent.renewed": "dpv:RenewedConsentGiven",
    "consent.refused": "dpv:ConsentRefused",
    "consent.withdrawn": "dpv:ConsentWithdrawn",
    "consent.revoked": "dpv:ConsentRevoked",
    "consent.expired": "dpv:ConsentExpired",
    "consent.invalidated": "dpv:ConsentInvalidated",
}
_RIGHTS = {"A7-3": "withdraw", "A15": "access", "A16": "rectify", "A17": "erase", "A77": "complain"}
Step = Logged[Any]  # of a type in STATUSES
Json = dict[str, Any]


def export_records(state: State, subject_ids: Iterable[str], origin: str) -> Json:
    """Return the records of people as one JSON-LD document.

    Raises:
        RecordError: There is no such person, or they were erased.
    """
    records = [r for s in subject_ids for r in subject_records(state, s, origin)]
    return {"@context": CONTEXT, "@graph": records}


def subject_records(
    state: State, subject_id: str, origin: str, purposes: Iterable[Purpose] = tuple(Purpose)
) -> list[Json]:
    """Return one record for each purpose that a person was asked about.

    Raises:
        RecordError: There is no such person, or they were erased.
    """
    person = state.find(subject_id)
    if person.erased:
        raise RecordError(f"this person was erased at entry {person.erased.index}")
    steps = {p: [i for i in person.history if _is_about(i.event, p)] for p in purposes}
    return [_record(state, person, p, found, origin) for p, found in steps.items() if found]


def is_under_gdpr(jurisdiction: str) -> bool:
    """Whether GDPR is the law of a jurisdiction."""
    return _gdpr().covers(jurisdiction)


def _record(
    state: State, person: SubjectState, purpose: Purpose, steps: list[Step], origin: str
) -> Json:
    assert person.registered is not None, "history begins with it"
    registered = person.registered.event
    notice = next((s.event.notice for s in reversed(steps) if hasattr(s.event, "notice")), None)
    terms = _terms(state, notice)
    given = next((s.event for s in reversed(steps) if isinstance(s.event, ConsentGiven)), None)
    gdpr = is_under_gdpr(registered.jurisdiction)
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{origin}/{person.subject_id}/{purpose}"))
    record: Json = {
        "@id": f"urn:uuid:{identifier}",
        "@type": "dpv:ConsentRecord",
        "dct:identifier": identifier,
        "dpv:hasDataSubject": {
            "@id": f"omote:subject:{person.subject_id}",
            "@type": RELATIONS[registered.relation],
            "dct:identifier": person.subject_id,
        },
        "dpv:hasJurisdiction": f"loc:{registered.jurisdiction}",
        "dpv:hasProcess": _process(purpose, terms, given),
        "dpv:hasConsentStatus": [status_of(s, purpose) for s in steps],
    }
    if registered.adult_from is not None:
        record["omote:adultFrom"] = registered.adult_from.isoformat()
    if notice is not None:
        record["dpv:hasNotice"] = _notice(notice)
    if given is not None:
        basis = "eu-gdpr:A9-2-a" if gdpr and given.kind is not ConsentKind.EXPRESSED else None
        record["dpv:hasLegalBasis"] = basis or ("eu-gdpr:A6-1-a" if gdpr else KINDS[given.kind][0])
    if gdpr:
        record["dpv:hasApplicableLaw"] = "eu-gdpr:GDPR"
        record["dpv:hasRight"] = [
            {"@type": ["dpv:DataSubjectRight", f"eu-gdpr:{article}"], "dct:title": title}
            for article, title in _RIGHTS.items()
        ]
    if terms is not None:
        record["dct:conformsTo"] = SCHEMA + ("record-eu-gdpr" if gdpr else "record")
        record["dpv:hasDataController"] = [_party(p, "DataController") for p in terms.controllers]
        control = {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": terms.withdrawal_method}
        record["dpv:hasConsentControl"] = control
        if terms.authority is not None:
            record["dpv:hasAuthority"] = _party(terms.authority, "DataProtectionAuthority")
    return record


def _process(purpose: Purpose, terms: NoticeTerms | None, given: ConsentGiven | None) -> Json:
    process: Json = {
        "@type": "dpv:Process",
        "dpv:hasPurpose": {"@id": f"omote:{purpose}", "skos:broader": PURPOSES[purpose]},
        "dpv:hasDataSource": "dpv:DataSubjectDataSource",
        "dpv:hasProcessing": ["dpv:Collect", "dpv:Store", "dpv:Use"],
    }
    if terms is not None:
        process |= {
            "dpv:hasPersonalData": list(terms.data_types),
            "dpv:hasRecipient": [_party(p, "Recipient") for p in terms.recipients],
            "dpv:hasStorageCondition": [
                {
                    "@type": "dpv:StorageLocation",
                    "dpv:hasLocation": [f"loc:{code}" for code in terms.storage_locations],
                },
                {"@type": "dpv:StorageDuration", "dpv:hasDuration": terms.retention},
            ],
        }
        if terms.collection_method:
            process["dct:description"] = terms.collection_method
    if given is not None and (limits := given.grant(purpose).conditions).territories:
        process["dpv:hasLocation"] = [f"loc:{code}" for code in limits.territories]
    return process


def status_of(step: Step, purpose: Purpose) -> Json:
    """Return what an event says about a purpose."""
    event = step.event
    status: Json = {
        "@type": [STATUSES[event.type]],
        "dpv:isIndicatedBy": "dpv:DataSubject",
        "dpv:isIndicatedAtTime": step.time.isoformat(),
        "dpv:hasDuration": [{"@type": "dpv:EndlessDuration"}],
        "omote:entry": step.index,
    }
    if isinstance(event, ConsentEnded):
        status["dpv:isIndicatedBy"] = "dpv:DataController"
        if event.reason:
            status["dpv:hasJustification"] = event.reason
    if isinstance(event, ConsentGiven):
        grant = event.grant(purpose)
        status["@type"] += KINDS[event.kind]
        status["dpv:hasDuration"] = _durations(grant.expires_at, grant.conditions)
        if event.guardian_id is not None:
            status["dpv:isIndicatedBy"] = "dpv:GuardianOfDataSubject"
        if event.evidence is not None:
            status["dpv:hasIndicationMethod"] = {"omote:sha256": event.evidence}
        if grant.conditions.max_epsilon is not None:
            status["omote:maxEpsilon"] = grant.conditions.max_epsilon
    return status


def _durations(expires_at: Any, conditions: Conditions) -> list[Json]:
    found = []
    if expires_at is not None:
        found.append({"@type": "dpv:UntilTimeDuration", "rdf:value": expires_at.isoformat()})
    if conditions.max_rounds is not None:
        found.append({"@type": "dpv:FixedOccurrencesDuration", "rdf:value": conditions.max_rounds})
    return found or [{"@type": "dpv:EndlessDuration"}]


def _notice(ref: NoticeRef) -> Json:
    return {
        "@id": f"omote:notice:{ref.notice_id}:{ref.version}:{ref.language}",
        "@type": "dpv:ConsentNotice",
        "dct:identifier": ref.notice_id,
        "dct:hasVersion": ref.version,
        "dct:language": ref.language,
        "omote:sha256": ref.sha256,
    }


def _party(party: Party, role: str) -> Json:
    return {
        "@id": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{party.name}/{party.address}')}",
        "@type": f"dpv:{role}",
        "dpv:hasName": party.name,
        "schema:address": party.address,
        "schema:contactPoint": party.contact,
    }


def _terms(state: State, ref: NoticeRef | None) -> NoticeTerms | None:
    if ref is None:
        return None
    found = state.notices.get(ref.notice_id, NoticeState()).find(ref)
    return None if found is None else found.event.terms


def _is_about(event: object, purpose: Purpose) -> bool:
    kinds = ConsentRequested | ConsentGiven | ConsentRefused | ConsentWithdrawn | ConsentEnded
    return isinstance(event, kinds) and purpose in event.purposes


@lru_cache(maxsize=1)
def _gdpr() -> RuleSet:
    return next(s for s in shipped_sets() if s.name == "eu-gdpr")
