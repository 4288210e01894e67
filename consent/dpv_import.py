"""Reads consent records that ``consent.dpv`` wrote, or others of that shape, as answers.

JSON-LD can say one thing in many forms. This reads the compact form with the prefixes of
``consent.dpv.CONTEXT``; a document with another context is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consent.dpv import CONTEXT, KINDS, RELATIONS, STATUSES, Json
from consent.envelope import parse_json
from consent.errors import MalformedError
from consent.intake import Answer, Problem, read_answer
from consent.model import ConsentKind

_RELATIONS = {term: relation for relation, term in RELATIONS.items()}
_TYPES = {term: name for name, term in STATUSES.items()}
_ANSWERS = {
    "consent.given": "given",
    "consent.renewed": "given",
    "consent.refused": "refused",
    "consent.withdrawn": "refused",
}


def read_records(data: bytes) -> Iterator[tuple[int, Answer | Problem]]:
    """Yield the number of each record, from 1, and what it answers now.

    Raises:
        MalformedError: Not JSON, or not a document of consent records in the known context.
    """
    document = parse_json(data)
    if not isinstance(document, dict) or not isinstance(document.get("@context"), dict):
        raise MalformedError("expected a JSON-LD object with its @context inside")
    context = document["@context"]
    if any(CONTEXT.get(prefix) != iri for prefix, iri in context.items()):
        raise MalformedError(f"the context must have no other prefixes than {CONTEXT}")
    records = document.get("@graph", [document])
    if not isinstance(records, list):
        raise MalformedError("expected a list of records under @graph")
    for number, record in enumerate(records, start=1):
        yield number, _read(number, record)


def _read(number: int, record: Any) -> Answer | Problem:
    try:
        if record["@type"] != "dpv:ConsentRecord":
            return Problem(number, "not a dpv:ConsentRecord")
        status = _latest(record["dpv:hasConsentStatus"])
        (kind,) = {_TYPES[t] for t in status["@type"] if t in _TYPES}
        if kind not in _ANSWERS:
            return Problem(number, f"{STATUSES[kind]} is no answer; there is nothing to take in")
        return read_answer(number, _values(record, status, _ANSWERS[kind]))
    except (LookupError, StopIteration, TypeError, ValueError, AttributeError) as e:
        what = f": {e}" if isinstance(e, KeyError) else ""
        return Problem(number, f"a field of a consent record is missing or of another form{what}")


def _latest(statuses: Any) -> Json:
    """Return the last event. The time decides; of equal times, the place in the list."""
    steps: list[Json] = statuses if isinstance(statuses, list) else [statuses]
    return max(enumerate(steps), key=lambda s: (s[1]["dpv:isIndicatedAtTime"], s[0]))[1]


def _values(record: Json, status: Json, answer: str) -> dict[str, object]:
    process, notice = record["dpv:hasProcess"], record["dpv:hasNotice"]
    subject, purpose = record["dpv:hasDataSubject"], process["dpv:hasPurpose"]
    if isinstance(purpose, dict):
        purpose = purpose["@id"]
    values: dict[str, object] = {
        "outside_id": subject["dct:identifier"],
        "relation": _RELATIONS[subject["@type"]],
        "jurisdiction": _code(record["dpv:hasJurisdiction"]),
        "purpose": purpose if isinstance(purpose, list) else purpose.removeprefix("omote:"),
        "answer": answer,
        "notice": notice["dct:identifier"],
        "version": notice["dct:hasVersion"],
        "language": notice["dct:language"],
        "notice_sha256": notice["omote:sha256"],
    }
    if "omote:adultFrom" in record:
        values["adult_from"] = record["omote:adultFrom"]
    if answer == "given":
        values |= _grant(process, status)
    return values


def _grant(process: Json, status: Json) -> dict[str, object]:
    found: dict[str, object] = {
        "kind": _kind(status["@type"]),
        "evidence": status["dpv:hasIndicationMethod"]["omote:sha256"],
    }
    limits: dict[str, object] = {}
    for duration in status["dpv:hasDuration"]:
        if duration["@type"] == "dpv:UntilTimeDuration":
            found["expires_at"] = duration["rdf:value"]
        elif duration["@type"] == "dpv:FixedOccurrencesDuration":
            limits["max_rounds"] = duration["rdf:value"]
        elif duration["@type"] != "dpv:EndlessDuration":
            raise ValueError("a duration of another kind would be lost")
    if "omote:maxEpsilon" in status:
        limits["max_epsilon"] = status["omote:maxEpsilon"]
    if "dpv:hasLocation" in process:
        limits["territories"] = [_code(place) for place in process["dpv:hasLocation"]]
    return found | {"conditions": limits}


def _kind(types: list[str]) -> ConsentKind:
    """Return the kind whose terms are there, and no term beside them."""
    said = set(types) - set(_TYPES)
    return next(kind for kind, terms in reversed(KINDS.items()) if set(terms) == said)


def _code(place: str) -> str:
    prefix, _, code = place.partition(":")
    if prefix != "loc":
        raise ValueError("a place outside the vocabulary")
    return code
