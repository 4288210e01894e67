"""Events about one person. Their openings are sealed under that person's own key.

A subject is a random identifier made at the site; it never leaves the site.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from consent.model import (
    SHA256,
    SUBJECT_ID,
    TERRITORY,
    ConsentKind,
    Grant,
    NoticeRef,
    Purpose,
    Purposes,
    Relation,
    SubjectEvent,
)


class SubjectRegistered(SubjectEvent):
    """A person is known to the site, under a random identifier."""

    type: Literal["subject.registered"] = "subject.registered"
    tag: str | None = Field(None, pattern="^[0-9a-f]{32}$")  # HMAC of the outside id, never sent
    relation: Relation = Relation.VOLUNTEER
    jurisdiction: str = Field("EU", pattern=TERRITORY)
    adult_from: date | None = None  # of a minor: the day of majority; None: an adult


class ConsentRequested(SubjectEvent):
    """The notice was shown and nothing was answered yet. Ends no earlier consent."""

    type: Literal["consent.requested"] = "consent.requested"
    purposes: Purposes = Field(min_length=1)
    notice: NoticeRef


class ConsentGiven(SubjectEvent):
    """A subject agreed, to each purpose on its own.

    For a minor a linked guardian agrees, and the minor assents if old enough to understand.
    """

    type: Literal["consent.given", "consent.renewed"] = "consent.given"
    grants: tuple[Grant, ...] = Field(min_length=1)
    notice: NoticeRef
    kind: ConsentKind = ConsentKind.EXPLICIT
    evidence: str | None = Field(None, pattern=SHA256)  # of the form; None: subject's own key
    guardian_id: str | None = Field(None, pattern=SUBJECT_ID)
    assent: Literal["given", "not_capable"] = "given"  # of a minor

    @model_validator(mode="after")
    def _each_once(self) -> ConsentGiven:
        if len({g.purpose for g in self.grants}) != len(self.grants):
            raise ValueError("a purpose is granted twice in one event")
        return self

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """The purposes agreed to."""
        return tuple(g.purpose for g in self.grants)

    def grant(self, purpose: Purpose) -> Grant:
        """Return what was agreed for a purpose of ``purposes``."""
        return next(g for g in self.grants if g.purpose is purpose)


class ConsentRefused(SubjectEvent):
    """A subject said no. Counts as a withdrawal of what was given before."""

    type: Literal["consent.refused"] = "consent.refused"
    purposes: Purposes = Field(min_length=1)
    notice: NoticeRef


class ConsentWithdrawn(SubjectEvent):
    """A subject took it back. Never refused, whoever is missing."""

    type: Literal["consent.withdrawn"] = "consent.withdrawn"
    purposes: Purposes = Field(min_length=1)


class ConsentEnded(SubjectEvent):
    """Consent ended without the subject: by another authority, by time, or as never valid."""

    type: Literal["consent.revoked", "consent.expired", "consent.invalidated"]
    purposes: Purposes = Field(min_length=1)
    reason: str = ""


class GuardianLinked(SubjectEvent):
    """Someone was shown to be this minor's guardian; ``guardian_id`` is a subject of its own."""

    type: Literal["guardian.linked"] = "guardian.linked"
    guardian_id: str = Field(pattern=SUBJECT_ID)
    evidence: str = Field(pattern=SHA256)


class MajorityReached(SubjectEvent):
    """A minor came of age: what a guardian agreed to before this entry holds no more."""

    type: Literal["age.majority"] = "age.majority"
