"""The words of consent: purposes, people's circumstances, keys' roles, and the parts of events.

Events hold text and whole numbers only, so that each has one byte form; decimals are text.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

SUBJECT_ID = "^[0-9A-Za-z._-]{1,128}$"
SHA256 = "^[0-9a-f]{64}$"
KEY_ID = "^[0-9a-f]{8}$"
ACCOUNT = "^[0-9a-f]{16}$"  # keyed code of a desk account's name; see Vault.account
TERRITORY = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"  # ISO 3166, and EU


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]  # one moment has one text


class Purpose(enum.StrEnum):
    """What a subject can agree to. Each is asked for on its own; absent means no."""

    PRETRAINING = "pretraining"
    FINETUNING = "finetuning"
    EVALUATION = "evaluation"
    COMMERCIAL_USE = "commercial_use"
    ONWARD_SHARING = "onward_sharing"  # of the recordings themselves
    PUBLICATION = "publication"  # of a model that was trained on them


def _sorted_once(purposes: Iterable[Purpose]) -> tuple[Purpose, ...]:
    return tuple(sorted(set(purposes)))


Purposes = Annotated[tuple[Purpose, ...], AfterValidator(_sorted_once)]


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


class Remedy(enum.StrEnum):
    """What can be done about a model after a withdrawal."""

    NONE_JUSTIFIED = "none_justified"
    ROLLBACK_AND_RETRAIN = "rollback_and_retrain"
    RETRAIN_SITE = "retrain_site"
    APPROXIMATE_UNLEARNING = "approximate_unlearning"
    RETIRE = "retire"


class Role(enum.StrEnum):
    """What a key may sign. See ``consent.roles`` for who may sign which event."""

    LOG = "log"
    ROOT = "root"
    DPO = "dpo"
    REGISTRAR = "registrar"
    OPERATOR = "operator"
    SUBJECT = "subject"


class Part(BaseModel):
    """A frozen part of an event that refuses unknown keys. Errors do not show what was in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Conditions(Part):
    """Limits on a grant. The defaults are the narrowest."""

    max_rounds: int | None = Field(None, ge=1)  # rounds that may use the data
    max_epsilon: str | None = Field(None, pattern=r"^[0-9]{1,4}(\.[0-9]{1,6})?$")  # over all time
    territories: tuple[str, ...] = ()  # ISO 3166 codes where data may be used; none: where taken


class Grant(Part):
    """Agreement to one purpose."""

    purpose: Purpose
    expires_at: Moment | None = None
    conditions: Conditions = Conditions()


class NoticeRef(Part):
    """The exact text that was shown."""

    notice_id: str = Field(min_length=1, max_length=64)
    version: int = Field(ge=1)
    language: str = Field(pattern="^[a-z]{2}(-[A-Z]{2})?$")
    sha256: str = Field(pattern=SHA256)


class Party(Part):
    """An organisation that a notice names (ISO/IEC TS 27560, section "party")."""

    name: str = Field(min_length=1)
    address: str = Field(min_length=1)
    contact: str = Field(min_length=1)  # an address that answers: mail, telephone or page
    kind: str = Field("controller", pattern="^[a-z_]{1,32}$")  # or processor, recipient, authority


class NoticeTerms(Part):
    """What a notice promises, for machines. TS 27560 asks for these in every consent record."""

    controllers: tuple[Party, ...] = Field(min_length=1)
    data_types: tuple[str, ...] = Field(("pd:Picture", "pd:FacialPrint"), min_length=1)  # DPV terms
    storage_locations: tuple[str, ...] = Field(min_length=1)  # ISO 3166 codes
    retention: str = Field(pattern=r"^P([0-9]+[YMWD])+$")  # ISO 8601 duration
    recipients: tuple[Party, ...] = ()  # third parties; none: stays with the controllers
    withdrawal_method: str = Field(min_length=1)
    collection_method: str = ""
    authority: Party | None = None  # to complain to


class Span(Part):
    """Frames of an asset, first and last included, and who is seen in all of them."""

    first: int = Field(ge=1)
    last: int = Field(ge=1)
    num_faces: int = Field(ge=0)  # found by the detector
    subjects: tuple[Annotated[str, Field(pattern=SUBJECT_ID)], ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.last < self.first:
            raise ValueError(f"span ends at {self.last}, before its first frame {self.first}")
        if len(set(self.subjects)) != len(self.subjects):
            raise ValueError("a subject stands twice in one span")
        return self

    @property
    def is_resolved(self) -> bool:
        """Is every face that was found known by name of its subject?"""
        return self.num_faces <= len(self.subjects)


class Event(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SubjectEvent(Event):
    """An event about one person; its opening is sealed under that person's own key."""

    subject_id: str = Field(pattern=SUBJECT_ID)
    desk: str | None = Field(None, pattern=ACCOUNT)  # account that recorded it; none: no desk
