"""What a consent log says, by replaying its events; and what that allows. Pure: no IO, no clock.

``State`` grows in place, entry by entry. Replaying a prefix and then the rest gives the same as
replaying all at once.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from consent import site_events, subject_events
from consent.errors import RecordError, RoleError
from consent.events import ConsentEvent
from consent.model import Purpose, SubjectEvent
from consent.roles import NARROWING, SPEAKERS, SPOKEN, KeyRing
from consent.standing import AssetState, Flag, Logged, NoticeState, SubjectState

START = datetime.fromtimestamp(0, UTC)


@dataclass
class State:
    """Everything that a log says up to some entry. Items carry their index and time.

    Attributes:
        size: Entries taken in.
        last_time: Of the last of them.
        lost: Entries that cannot be opened although no erasure says so.
        flags: What a person should look at.
        uses: How often each entry was relied on for each purpose by signed rounds.
    """

    size: int = 0
    last_time: datetime = START
    site: Logged[site_events.SiteDescribed] | None = None
    keys: KeyRing = field(default_factory=KeyRing)
    subjects: dict[str, SubjectState] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)  # tag to subject id
    notices: dict[str, NoticeState] = field(default_factory=dict)
    assets: dict[str, AssetState] = field(default_factory=dict)
    evidence: dict[str, Logged[site_events.EvidenceAdded]] = field(default_factory=dict)
    policies: list[Logged[site_events.PolicySet]] = field(default_factory=list)
    decisions: list[Logged[site_events.PolicyDecided]] = field(default_factory=list)
    reviews: list[Logged[site_events.ReviewApproved]] = field(default_factory=list)
    started: list[Logged[site_events.RoundStarted]] = field(default_factory=list)
    rounds: list[Logged[site_events.RoundSigned]] = field(default_factory=list)
    discarded: list[Logged[site_events.RoundDiscarded]] = field(default_factory=list)
    models: dict[str, Logged[site_events.ModelPublished]] = field(default_factory=dict)
    remediations: list[Logged[site_events.ModelRemediation]] = field(default_factory=list)
    anomalies: list[Logged[site_events.ClockAnomaly]] = field(default_factory=list)
    notes: list[Logged[site_events.LogNote]] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    uses: Counter[tuple[int, Purpose]] = field(default_factory=Counter)

    def apply(self, index: int, time: datetime, key_id: str, event: ConsentEvent | None) -> None:
        """Take in the next entry. ``event`` is None if its opening is erased.

        An event that its signer may not sign changes nothing and is flagged, unless it only
        narrows what may be done: then it counts.
        """
        assert index == self.size, f"expected entry {self.size}, got {index}"
        self.size, self.last_time = index + 1, time
        if isinstance(event, SubjectEvent):
            self._person(event.subject_id).entries.append(index)
        if event is None:
            self.lost.add(index)
        elif not self._is_heard(index, key_id, event):
            event = None
        else:
            self._take(Logged(index, time, key_id, event))
        self.keys.apply(index, key_id, event)

    def find(self, subject_id: str) -> SubjectState:
        """Return a person.

        Raises:
            RecordError: The log knows no such person.
        """
        try:
            return self.subjects[subject_id]
        except KeyError:
            raise RecordError("no such person in this consent log; register them first") from None

    def _is_heard(self, index: int, key_id: str, event: ConsentEvent) -> bool:
        role = self.keys.role_of(key_id)
        try:
            self.keys.check(index, key_id, event.type, event)
        except RoleError as e:
            self.flags.append(Flag(index, str(e)))
            return event.type in NARROWING
        if event.type in SPOKEN and role not in SPEAKERS:
            why = f"{event.type} was recorded by {role}; a registrar should look at it"
            self.flags.append(Flag(index, why))
        return True

    def _take(self, item: Logged[Any]) -> None:
        event = item.event
        if isinstance(event, SubjectEvent):
            self._take_about_subject(item)
        elif isinstance(event, site_events.NoticePublished):
            notice = self.notices.setdefault(event.notice.notice_id, NoticeState())
            notice.versions.setdefault(event.notice.version, {})[event.notice.language] = item
        elif isinstance(event, site_events.SubjectErased):
            self._forget(item)
        elif isinstance(event, site_events.AssetLinked):
            self.assets[event.asset] = AssetState(item)
        elif isinstance(event, site_events.AssetEnded):
            if event.asset in self.assets:
                self.assets[event.asset].ended = item
        elif isinstance(event, site_events.RoundSigned):
            self.rounds.append(item)
            self.uses.update((entry, event.purpose) for entry in set(event.entries))
        elif event.type in _BY_DIGEST:
            name, digest = _BY_DIGEST[event.type]
            getattr(self, name)[getattr(event, digest)] = item
        elif event.type in _IN_ORDER:
            getattr(self, _IN_ORDER[event.type]).append(item)
        elif isinstance(event, site_events.SiteDescribed):
            self.site = item

    def _take_about_subject(self, item: Logged[Any]) -> None:
        event = item.event
        person = self._person(event.subject_id)
        if person.erased:
            self.flags.append(Flag(item.index, f"{event.type} is about someone who was erased"))
            return
        person.history.append(item)
        if isinstance(event, subject_events.SubjectRegistered):
            person.registered = item
            if event.tag is not None:
                self.tags[event.tag] = event.subject_id
        elif isinstance(event, subject_events.GuardianLinked):
            person.guardians[event.guardian_id] = item
        elif isinstance(event, subject_events.MajorityReached):
            person.majority = item
        elif not isinstance(event, subject_events.ConsentRequested):
            for purpose in event.purposes:
                person.answers[purpose] = item

    def _person(self, subject_id: str) -> SubjectState:
        return self.subjects.setdefault(subject_id, SubjectState(subject_id))

    def _forget(self, item: Logged[site_events.SubjectErased]) -> None:
        """Keep no more of an erased person than a replay without the openings would have."""
        person = self.subjects.get(item.event.subject_id)
        if person and person.registered and person.registered.event.tag:
            self.tags.pop(person.registered.event.tag, None)
        self.subjects[item.event.subject_id] = SubjectState(item.event.subject_id, erased=item)
        gone = frozenset(item.event.entries)
        self.lost -= gone
        self.flags = [f for f in self.flags if f.index not in gone]


_IN_ORDER = {
    "policy.set": "policies",
    "policy.decided": "decisions",
    "review.approved": "reviews",
    "round.started": "started",
    "round.discarded": "discarded",
    "model.remediation": "remediations",
    "clock.anomaly": "anomalies",
    "log.note": "notes",
}
_BY_DIGEST = {"evidence.added": ("evidence", "sha256"), "model.published": ("models", "model")}


class Status(enum.StrEnum):
    """What the log says about one person and one purpose."""

    ALLOWED = "allowed"
    NEVER_GIVEN = "never_given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    STALE_NOTICE = "stale_notice"
    NEEDS_GUARDIAN = "needs_guardian"
    NEEDS_OWN_CONSENT = "needs_own_consent"  # came of age
    EXHAUSTED = "exhausted"  # used in as many rounds as agreed
    ELSEWHERE = "elsewhere"  # agreed for other territories
    LESSER_GRADE = "lesser_grade"  # agreed less expressly than the declared use demands
    UNDECLARED = "undeclared"  # the declared use does not speak of such a person
    ERASED = "erased"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """An answer, the entry that it rests on, and the reason in words."""

    status: Status
    index: int | None
    why: str


_ENDED = {
    "consent.refused": (Status.REFUSED, "refused"),
    "consent.withdrawn": (Status.WITHDRAWN, "withdrawn"),
    "consent.revoked": (Status.REVOKED, "revoked by another authority"),
    "consent.expired": (Status.EXPIRED, "expired"),
    "consent.invalidated": (Status.INVALIDATED, "found never to have been valid"),
}


def decide(state: State, subject_id: str, purpose: Purpose, at: datetime) -> Decision:
    """Decide whether a person's data may be used for a purpose. Denies by default."""
    person = state.subjects.get(subject_id)
    if person is not None and person.erased:
        why = f"erased at entry {person.erased.index}: {person.erased.event.ground}"
        return Decision(Status.ERASED, person.erased.index, why)
    if person is None or person.registered is None:
        return Decision(Status.UNKNOWN, None, "this log registered no such person")
    answer = person.answers.get(purpose)
    if answer is None:
        return Decision(Status.NEVER_GIVEN, None, f"{purpose} was never agreed to")
    if not isinstance(answer.event, subject_events.ConsentGiven):
        status, word = _ENDED[answer.event.type]
        return Decision(status, answer.index, f"{word} at entry {answer.index}")
    status, why = _standing(state, person, answer, purpose, at)
    return Decision(status, answer.index, f"given at entry {answer.index}{why}")


def _standing(
    state: State, person: SubjectState, given: Logged[Any], purpose: Purpose, at: datetime
) -> tuple[Status, str]:
    """Say what became of a grant that nobody took back."""
    event: subject_events.ConsentGiven = given.event
    grant, limits = event.grant(purpose), event.grant(purpose).conditions
    # (1) Was it ever valid?
    if state.keys.is_in_doubt(given.index, given.key_id):
        return Status.INVALIDATED, ", but signed by a stolen key; let a registrar countersign it"
    notice = state.notices.get(event.notice.notice_id, NoticeState())
    shown = notice.find(event.notice)
    if shown is None or purpose not in shown.event.purposes:
        return Status.INVALIDATED, f", but no published notice asked for {purpose} in those words"
    # (2) Is it over?
    if grant.expires_at is not None and grant.expires_at <= at:
        return Status.EXPIRED, f", expired at {grant.expires_at:%Y-%m-%d %H:%M} UTC"
    changed = notice.changed_since(event.notice.version, purpose)
    if changed is not None:
        return Status.STALE_NOTICE, f", but version {changed} of the notice changed what it says"
    # (3) Did the right person agree?
    if person.came_of_age_since(given.index, given.time, at):
        return Status.NEEDS_OWN_CONSENT, " for a minor who has come of age since"
    if person.is_minor(given.time) and event.guardian_id not in person.guardians:
        return Status.NEEDS_GUARDIAN, ", but by no guardian who is linked to this minor"
    # (4) Within the limits?
    if limits.max_rounds is not None and state.uses[given.index, purpose] >= limits.max_rounds:
        return Status.EXHAUSTED, f" for {limits.max_rounds} rounds, all of them used"
    territory = state.site.event.territory if state.site else None
    if limits.territories and not _lies_in(territory, limits.territories):
        return Status.ELSEWHERE, f", but not for use in {territory or 'an undeclared territory'}"
    return Status.ALLOWED, ""


def _lies_in(territory: str | None, territories: tuple[str, ...]) -> bool:
    """Is a territory, such as US-IL, one of these or a part of one?"""
    return territory is not None and (
        territory in territories or territory.partition("-")[0] in territories
    )
