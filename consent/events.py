"""Every event that a consent log can hold, and its one byte form."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from consent import site_events as site
from consent import subject_events as subject
from consent.envelope import canonical_json, parse_json
from consent.errors import MalformedError

ConsentEvent = Annotated[
    subject.SubjectRegistered
    | subject.ConsentRequested
    | subject.ConsentGiven
    | subject.ConsentRefused
    | subject.ConsentWithdrawn
    | subject.ConsentEnded
    | subject.GuardianLinked
    | subject.MajorityReached
    | site.SiteDescribed
    | site.NoticePublished
    | site.SubjectErased
    | site.AssetLinked
    | site.AssetEnded
    | site.PolicySet
    | site.PolicyDecided
    | site.EvidenceAdded
    | site.ReviewApproved
    | site.RoundStarted
    | site.RoundSigned
    | site.RoundDiscarded
    | site.ModelPublished
    | site.ModelRemediation
    | site.KeyAdded
    | site.KeyRevoked
    | site.Countersigned
    | site.ClockAnomaly
    | site.LogNote,
    Field(discriminator="type"),
]
_EVENT: TypeAdapter[ConsentEvent] = TypeAdapter(ConsentEvent)


def event_bytes(event: ConsentEvent) -> bytes:
    """Return the one byte form of an event."""
    return canonical_json(event.model_dump(mode="json"))


def parse_event(body: bytes) -> ConsentEvent:
    """Read an event.

    Raises:
        MalformedError: Not an event.
    """
    try:
        return _EVENT.validate_python(parse_json(body))
    except ValidationError as e:
        # Its own text would show the values, which are a person's data.
        raise MalformedError(f"not a consent event: {e.error_count()} mistakes") from None
