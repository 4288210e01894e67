"""What a log says about one person, notice or recording. Plain values; ``State`` fills them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, TypeVar

from consent.model import Event, NoticeRef, NoticeTerms, Purpose, Span, SubjectEvent
from consent.site_events import AssetEnded, AssetLinked, NoticePublished, SubjectErased
from consent.subject_events import (
    ConsentEnded,
    ConsentGiven,
    ConsentRefused,
    ConsentWithdrawn,
    GuardianLinked,
    MajorityReached,
    SubjectRegistered,
)

E = TypeVar("E", bound=Event, covariant=True)
Answer = ConsentGiven | ConsentRefused | ConsentWithdrawn | ConsentEnded
"""What settles a purpose until the next one."""


@dataclass(frozen=True)
class Logged(Generic[E]):
    """An event and where it stands in the log."""

    index: int
    time: datetime
    key_id: str
    event: E


@dataclass(frozen=True)
class Flag:
    """Something that a person should look at. Names no subject."""

    index: int
    why: str


@dataclass
class SubjectState:
    """All that the log tells of one person."""

    subject_id: str
    registered: Logged[SubjectRegistered] | None = None
    guardians: dict[str, Logged[GuardianLinked]] = field(default_factory=dict)
    majority: Logged[MajorityReached] | None = None
    answers: dict[Purpose, Logged[Answer]] = field(default_factory=dict)  # the last per purpose
    history: list[Logged[SubjectEvent]] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)  # all about them, heard or not
    erased: Logged[SubjectErased] | None = None

    def is_minor(self, moment: datetime) -> bool:
        """Was the person a minor then? Days are counted in UTC."""
        adult_from = self.registered.event.adult_from if self.registered else None
        return adult_from is not None and _day(moment) < adult_from

    def came_of_age_since(self, index: int, moment: datetime, now: datetime) -> bool:
        """Did the person come of age between entry ``index``, written at ``moment``, and now?"""
        said = self.majority is not None and self.majority.index > index
        return self.is_minor(moment) and (said or not self.is_minor(now))


@dataclass
class NoticeState:
    """All versions of one notice, each in one or more languages."""

    versions: dict[int, dict[str, Logged[NoticePublished]]] = field(default_factory=dict)

    @property
    def latest(self) -> int:
        """The highest version."""
        return max(self.versions, default=0)

    def draft(
        self,
        notice_id: str,
        language: str,
        text: str,
        purposes: tuple[Purpose, ...],
        changed: tuple[Purpose, ...],
        terms: NoticeTerms | None,
    ) -> NoticePublished:
        """Return the event of a new text: another language of the latest version, or the next."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        texts = self.versions.get(self.latest, {})
        other = next(iter(texts.values())).event if texts and language not in texts else None
        is_same = other and (set(other.purposes), set(other.changed)) == (
            set(purposes),
            set(changed),
        )
        version = self.latest if is_same else self.latest + 1
        ref = NoticeRef(notice_id=notice_id, version=version, language=language, sha256=digest)
        return NoticePublished(
            notice=ref, purposes=purposes, text=text, changed=changed, terms=terms
        )

    def find(self, ref: NoticeRef) -> Logged[NoticePublished] | None:
        """Return the text that a reference names, if it was published just so."""
        found = self.versions.get(ref.version, {}).get(ref.language)
        return found if found is not None and found.event.notice == ref else None

    def changed_since(self, version: int, purpose: Purpose) -> int | None:
        """Return the first later version that changed what is promised about a purpose."""
        return min(
            (
                later
                for later, texts in self.versions.items()
                if later > version and any(purpose in t.event.changed for t in texts.values())
            ),
            default=None,
        )


@dataclass
class AssetState:
    """A recording: who is seen in it, and whether it is still there."""

    linked: Logged[AssetLinked]
    ended: Logged[AssetEnded] | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans that count now; none if unlinked or deleted."""
        return () if self.ended else self.linked.event.spans


def _day(moment: datetime) -> date:
    return moment.date()
