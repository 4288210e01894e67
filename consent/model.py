"""The words of consent: purposes, people's circumstances, and every event a consent log can hold.

A subject is a random identifier made at the site; it never leaves the site. Events hold text and
whole numbers only, so that each has one byte form; decimals are text.
"""

from __future__ import annotations

import enum
from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

SUBJECT_ID = "^[0-9A-Za-z._-]{1,128}$"
SHA256 = "^[0-9a-f]{64}$"
KEY_ID = "^[0-9a-f]{8}$"


class Purpose(enum.StrEnum):
    """What a subject can agree to. Each is asked for on its own; absent means no."""

    PRETRAINING = "pretraining"
    FINETUNING = "finetuning"
    EVALUATION = "evaluation"
    COMMERCIAL_USE = "commercial_use"
    ONWARD_SHARING = "onward_sharing"  # of the recordings themselves
    PUBLICATION = "publication"  # of a model that was trained on them


class Relation(enum.StrEnum):
    """What the subject is to the site. Consent of people who depend on it is seldom free."""

    VOLUNTEER = "volunteer"
    PATIENT = "patient"
    EMPLOYEE = "employee"
    APPLICANT = "applicant"
    STUDENT = "student"
    CUSTOMER = "customer"


class ConsentKind(enum.StrEnum):
    """How consent was expressed (DPV consent types; BIPA asks for a written release)."""

    EXPRESSED = "expressed"
    EXPLICIT = "explicit"
    WRITTEN_RELEASE = "written_release"


class Role(enum.StrEnum):
    """What a key may sign. See ``consent.roles`` for who may sign which event."""

    LOG = "log"
    ROOT = "root"
    DPO = "dpo"
    REGISTRAR = "registrar"
    OPERATOR = "operator"
    SUBJECT = "subject"


class Part(BaseModel):
    """A frozen part of an event that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditions(Part):
    """Limits on a grant. The defaults are the narrowest."""

    max_rounds: int | None = Field(None, ge=1)  # rounds that may use the data
    max_epsilon: str | None = Field(None, pattern=r"^[0-9]{1,4}(\.[0-9]{1,6})?$")  # over all time
    territories: tuple[str, ...] = ()  # ISO 3166 codes where data may be used; none: where taken


class Grant(Part):
    """Agreement to one purpose."""

    purpose: Purpose
    expires_at: AwareDatetime | None = None
    conditions: Conditions = Conditions()


class NoticeRef(Part):
    """The exact text that was shown."""

    notice_id: str = Field(min_length=1, max_length=64)
    version: int = Field(ge=1)
    language: str = Field(pattern="^[a-z]{2}(-[A-Z]{2})?$")
    sha256: str = Field(pattern=SHA256)


class Event(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectEvent(Event):
    """An event about one person; its opening is sealed under that person's own key."""

    subject_id: str = Field(pattern=SUBJECT_ID)


# --- notices ---------------------------------------------------------------------------------


class NoticePublished(Event):
    """A notice may be shown from now on. The text is kept with the opening."""

    type: Literal["notice.published"] = "notice.published"
    notice: NoticeRef
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    text: str = Field(min_length=1)
    material: bool = False  # changes what earlier versions of it promised

    @property
    def ref(self) -> NoticeRef:
        """What a consent event names."""
        return self.notice


# --- people ----------------------------------------------------------------------------------


class SubjectRegistered(SubjectEvent):
    """A person is known to the site, under a random identifier."""

    type: Literal["subject.registered"] = "subject.registered"
    tag: str | None = None  # HMAC of the outside id, hex: to find the person again, never sent
    relation: Relation = Relation.VOLUNTEER
    jurisdiction: str = Field("EU", pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")
    adult_from: date | None = None  # of a minor: the day of majority; None: an adult


class ConsentRequested(SubjectEvent):
    """The notice was shown and nothing was answered yet."""

    type: Literal["consent.requested"] = "consent.requested"
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    notice: NoticeRef


class ConsentGiven(SubjectEvent):
    """A subject agreed, to each purpose on its own."""

    type: Literal["consent.given", "consent.renewed"] = "consent.given"
    grants: tuple[Grant, ...] = Field(min_length=1)
    notice: NoticeRef
    kind: ConsentKind = ConsentKind.EXPLICIT
    evidence: str | None = Field(None, pattern=SHA256)  # of the signed form or the recording

    @model_validator(mode="after")
    def _each_once(self) -> ConsentGiven:
        if len({g.purpose for g in self.grants}) != len(self.grants):
            raise ValueError("a purpose is granted twice in one event")
        return self

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """The purposes agreed to."""
        return tuple(g.purpose for g in self.grants)


class ConsentRefused(SubjectEvent):
    """A subject said no. Counts as a withdrawal of what was given before."""

    type: Literal["consent.refused"] = "consent.refused"
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    notice: NoticeRef


class ConsentWithdrawn(SubjectEvent):
    """A subject took it back. Never refused, whoever is missing."""

    type: Literal["consent.withdrawn"] = "consent.withdrawn"
    purposes: tuple[Purpose, ...] = Field(min_length=1)


class ConsentEnded(SubjectEvent):
    """Consent ended without the subject: by another authority, by time, or as never valid."""

    type: Literal["consent.revoked", "consent.expired", "consent.invalidated"]
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    reason: str = ""


class GuardianLinked(SubjectEvent):
    """A guardian agrees for a minor; ``guardian_id`` is a subject of its own."""

    type: Literal["guardian.linked"] = "guardian.linked"
    guardian_id: str = Field(pattern=SUBJECT_ID)
    evidence: str = Field(pattern=SHA256)


class SubjectErased(Event):
    """A person's openings were made unreadable. Tells erased from lost."""

    type: Literal["subject.erased"] = "subject.erased"
    subject_id: str = Field(pattern=SUBJECT_ID)
    entries: tuple[int, ...]  # indices that cannot be opened any more
    ground: str  # legal ground, such as GDPR 17(1)(b)


# --- recordings ------------------------------------------------------------------------------


class Span(Part):
    """Frames of an asset, first and last included, and who is seen in all of them."""

    first: int = Field(ge=1)
    last: int = Field(ge=1)
    num_faces: int = Field(ge=0)  # found by the detector
    subjects: tuple[str, ...] = ()  # fewer than num_faces: someone is not known

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.last < self.first:
            raise ValueError(f"span ends at {self.last}, before its first frame {self.first}")
        return self


class AssetLinked(Event):
    """A recording belongs to the people in its spans."""

    type: Literal["asset.linked"] = "asset.linked"
    asset: str = Field(pattern=SHA256)  # digest of the recording
    spans: tuple[Span, ...] = Field(min_length=1)
    captured_at: AwareDatetime | None = None
    licence: str = ""
    source: str = ""  # where it came from, as a data-protection officer would ask
    keep_until: AwareDatetime | None = None
    derived_from: str | None = Field(None, pattern=SHA256)  # of a masked copy


class AssetDeleted(Event):
    """A recording and all that was made from it are gone from the site."""

    type: Literal["asset.deleted"] = "asset.deleted"
    asset: str = Field(pattern=SHA256)


# --- rules and evidence ----------------------------------------------------------------------


class PolicySet(Event):
    """These rules hold from here on."""

    type: Literal["policy.set"] = "policy.set"
    sha256: str = Field(pattern=SHA256)
    names: tuple[str, ...]


class PolicyDecided(Event):
    """A declared use was put to the rules."""

    type: Literal["policy.decided"] = "policy.decided"
    declaration: str = Field(pattern=SHA256)
    policy: str = Field(pattern=SHA256)
    verdict: Literal["allow", "review", "deny"]
    rules: tuple[str, ...]


class EvidenceAdded(Event):
    """A document, such as a DPIA or an ethics vote."""

    type: Literal["evidence.added"] = "evidence.added"
    kind: str = Field(pattern="^[a-z_]{1,32}$")
    sha256: str = Field(pattern=SHA256)
    valid_until: AwareDatetime | None = None


class ReviewApproved(Event):
    """A person with the right role answers for a decision that asked for review."""

    type: Literal["review.approved"] = "review.approved"
    declaration: str = Field(pattern=SHA256)


# --- rounds and models -----------------------------------------------------------------------


class RoundSigned(Event):
    """An update was signed; the attestation is kept with the opening."""

    type: Literal["round.signed"] = "round.signed"
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    model_in: str = Field(pattern=SHA256)
    update: str = Field(pattern=SHA256)
    manifest: str = Field(pattern=SHA256)
    attestation: str  # the DSSE envelope


class RoundDiscarded(Event):
    """An update was not sent, because consent ended while it was trained."""

    type: Literal["round.discarded"] = "round.discarded"
    run_id: str
    round: int = Field(ge=1)
    reason: str


class ModelPublished(Event):
    """A model came out of rounds, and of the models before it."""

    type: Literal["model.published"] = "model.published"
    model: str = Field(pattern=SHA256)
    run_id: str
    rounds: tuple[int, ...]
    parents: tuple[str, ...] = ()


class ModelRemediation(Event):
    """What was done about a model after a withdrawal. Only retraining without removes data."""

    type: Literal["model.remediation"] = "model.remediation"
    model: str = Field(pattern=SHA256)
    kind: Literal[
        "none_justified", "rollback_and_retrain", "retrain_site", "approximate_unlearning", "retire"
    ]
    reason: str


# --- keys and the log itself -----------------------------------------------------------------


class KeyAdded(Event):
    """A key may sign entries of its role from here on. The first entry of a log adds its own."""

    type: Literal["key.added"] = "key.added"
    vkey: str
    role: Role


class KeyRevoked(Event):
    """A key signs no entry after this one. What it signed from ``compromised_from`` is in doubt."""

    type: Literal["key.revoked"] = "key.revoked"
    key: str = Field(pattern=KEY_ID)
    compromised_from: int | None = Field(None, ge=0)  # index of an entry


class ClockAnomaly(Event):
    """The clock stood before the last entry. Time in the log never runs backwards."""

    type: Literal["clock.anomaly"] = "clock.anomaly"
    seconds: int = Field(gt=0)  # that it was behind


class LogNote(Event):
    """A remark."""

    type: Literal["log.note"] = "log.note"
    text: str


ConsentEvent = Annotated[
    NoticePublished
    | SubjectRegistered
    | ConsentRequested
    | ConsentGiven
    | ConsentRefused
    | ConsentWithdrawn
    | ConsentEnded
    | GuardianLinked
    | SubjectErased
    | AssetLinked
    | AssetDeleted
    | PolicySet
    | PolicyDecided
    | EvidenceAdded
    | ReviewApproved
    | RoundSigned
    | RoundDiscarded
    | ModelPublished
    | ModelRemediation
    | KeyAdded
    | KeyRevoked
    | ClockAnomaly
    | LogNote,
    Field(discriminator="type"),
]
