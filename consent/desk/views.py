"""What a page shows, worked out from the log's state. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from consent.model import Conditions, NoticeRef, Purpose, Remedy
from consent.standing import Logged, SubjectState
from consent.state import State, Status, decide
from consent.subject_events import (
    ConsentGiven,
    ConsentRefused,
    ConsentRequested,
    ConsentWithdrawn,
)
from consent.upkeep import touched_by

BANDS = {"30": 30, "60": 60, "90": 90}  # days until consent ends
ATTENTION = {
    Status.STALE_NOTICE,
    Status.NEEDS_GUARDIAN,
    Status.NEEDS_OWN_CONSENT,
    Status.EXHAUSTED,
    Status.ELSEWHERE,
    Status.EXPIRED,
}
RECENTLY = timedelta(days=30)  # consent that ended longer ago needs nobody's attention


@dataclass(frozen=True)
class PurposeRow:
    """Where one purpose stands."""

    purpose: Purpose
    status: Status
    since: datetime | None
    ends: datetime | None
    limits: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True)
class HistoryLine:
    """One entry about a person."""

    index: int
    time: datetime
    what: str  # the event's type, as the texts have it
    purposes: tuple[Purpose, ...]
    can_print: bool


@dataclass(frozen=True)
class PersonView:
    """Everything that the page of a person shows."""

    relation: str
    jurisdiction: str
    adult_from: date | None
    is_minor: bool
    guardians: tuple[str, ...]
    is_erased: bool
    rows: tuple[PurposeRow, ...]
    history: tuple[HistoryLine, ...]  # the newest first
    withdrawable: tuple[Purpose, ...]

    @property
    def was_asked(self) -> bool:
        """Was this person asked before?"""
        return any(line.can_print for line in self.history)

    @property
    def lacks_guardian(self) -> bool:
        """Can this minor not answer yet, because nobody may answer with them?"""
        return self.is_minor and not self.guardians

    @property
    def can_be_asked(self) -> bool:
        """May a notice be put to this person?"""
        return not self.is_erased and not self.lacks_guardian


@dataclass(frozen=True)
class EntryView:
    """One or two entries of one moment, for the confirmation."""

    indices: tuple[int, ...]
    time: datetime
    agreed: tuple[tuple[Purpose, datetime | None, Conditions], ...] = ()
    refused: tuple[Purpose, ...] = ()
    withdrawn: tuple[Purpose, ...] = ()
    asked: tuple[Purpose, ...] = ()
    notice: NoticeRef | None = None


@dataclass(frozen=True)
class TracesView:
    """Where a person's data had a part before they took their consent back."""

    num_rounds: int
    models: tuple[tuple[str, Remedy | None], ...]  # digest, and what was done about it


@dataclass(frozen=True)
class NoticeView:
    """The newest text of a notice in one language."""

    ref: NoticeRef
    text: str
    purposes: tuple[Purpose, ...]

    @property
    def key(self) -> str:
        """Names it in an address."""
        return f"{self.ref.notice_id}:{self.ref.language}"


@dataclass(frozen=True)
class PersonLine:
    """A person in a list, with the purposes that it is about."""

    subject_id: str
    status: Status
    ends: datetime | None
    purposes: tuple[Purpose, ...]


@dataclass
class TodayView:
    """The first page."""

    num_people: int = 0
    num_with_consent: int = 0
    num_given: int = 0
    num_withdrawn: int = 0
    by_purpose: dict[Purpose, int] = field(default_factory=lambda: dict.fromkeys(Purpose, 0))
    expiring: dict[str, list[PersonLine]] = field(default_factory=dict)  # by band
    attention: list[PersonLine] = field(default_factory=list)


def person_view(state: State, subject_id: str, at: datetime) -> PersonView:
    """Work out the page of a person.

    Raises:
        KeyError: The log knows no such person.
    """
    subject = state.subjects[subject_id]
    registered = subject.registered.event if subject.registered else None
    return PersonView(
        relation=registered.relation.value if registered else "",
        jurisdiction=registered.jurisdiction if registered else "",
        adult_from=registered.adult_from if registered else None,
        is_minor=subject.is_minor(at),
        guardians=tuple(subject.guardians),
        is_erased=subject.erased is not None,
        rows=tuple(_row(state, subject, purpose, at) for purpose in Purpose),
        history=tuple(_history(subject)),
        withdrawable=tuple(p for p in Purpose if _grant(subject, p) is not None),
    )


def entry_view(state: State, subject_id: str, index: int) -> EntryView:
    """Work out a confirmation. A refusal that was written with an agreement is shown with it.

    Raises:
        KeyError: Entry ``index`` is not an answer of this person.
    """
    near = [e for e in state.subjects[subject_id].history if e.index in (index, index + 1)]
    if not near or near[0].index != index:
        raise KeyError(index)
    first = near[0]
    match first.event:
        case ConsentGiven(grants=grants, notice=notice):
            given = {g.purpose: (g.expires_at, g.conditions) for g in grants}
            agreed = tuple((p, *given[p]) for p in in_order(given))
            both = len(near) == 2 and near[1].time == first.time
            if both and isinstance(refusal := near[1].event, ConsentRefused):
                indices = (index, index + 1)
                return EntryView(
                    indices, first.time, agreed, in_order(refusal.purposes), notice=notice
                )
            return EntryView((index,), first.time, agreed, notice=notice)
        case ConsentRefused(purposes=purposes, notice=notice):
            return EntryView((index,), first.time, refused=in_order(purposes), notice=notice)
        case ConsentWithdrawn(purposes=purposes):
            return EntryView((index,), first.time, withdrawn=in_order(purposes))
        case ConsentRequested(purposes=purposes, notice=notice):
            return EntryView((index,), first.time, asked=in_order(purposes), notice=notice)
    raise KeyError(index)


def traces_view(state: State, subject_id: str) -> TracesView:
    """Work out what a withdrawal came too late for."""
    touched = touched_by(state, subject_id)
    found = touched.remediations(state)
    models = tuple((digest, done.kind if done else None) for digest, done in found.items())
    return TracesView(len(touched.rounds), models)


def notice_views(state: State) -> tuple[NoticeView, ...]:
    """Return the newest version of every notice, in each of its languages."""
    return tuple(
        NoticeView(found.event.notice, found.event.text, in_order(found.event.purposes))
        for notice in state.notices.values()
        for found in notice.versions[notice.latest].values()
    )


def today_view(state: State, at: datetime, midnight: datetime) -> TodayView:
    """Count, and list what ends soon and what waits for someone."""
    view = TodayView()
    ends_soon: dict[str, list[PersonLine]] = defaultdict(list)
    for subject in state.subjects.values():
        if subject.erased is not None:
            continue
        view.num_people += 1
        _count_today(view, subject, midnight)
        holds = False
        grouped: dict[tuple[Status, datetime | None], list[Purpose]] = defaultdict(list)
        for purpose in Purpose:
            if (grant := _grant(subject, purpose)) is None:
                continue
            status = decide(state, subject.subject_id, purpose, at).status
            if status is Status.ALLOWED:
                holds = True
                view.by_purpose[purpose] += 1
            grouped[status, grant.event.grant(purpose).expires_at].append(purpose)
        view.num_with_consent += holds
        for (status, ends), purposes in grouped.items():
            line = PersonLine(subject.subject_id, status, ends, tuple(purposes))
            if status in ATTENTION and not _is_long_over(line, at):
                view.attention.append(line)
            elif status is Status.ALLOWED and (band := _band(ends, at)) is not None:
                ends_soon[band].append(line)
    for band in BANDS:
        if ends_soon[band]:
            view.expiring[band] = sorted(ends_soon[band], key=lambda line: line.ends or at)
    return view


def in_order(purposes: Iterable[Purpose]) -> tuple[Purpose, ...]:
    """Purposes in the order in which people are asked."""
    return tuple(sorted(purposes, key=list(Purpose).index))


def _row(state: State, subject: SubjectState, purpose: Purpose, at: datetime) -> PurposeRow:
    decision = decide(state, subject.subject_id, purpose, at)
    answer = subject.answers.get(purpose)
    grant = _grant(subject, purpose)
    since = answer.time if answer else None
    if grant is None:
        return PurposeRow(purpose, decision.status, since, None)
    given = grant.event.grant(purpose)
    return PurposeRow(purpose, decision.status, since, given.expires_at, given.conditions)


def _grant(subject: SubjectState, purpose: Purpose) -> Logged[ConsentGiven] | None:
    """Return what was given and not taken back, whether or not it still allows anything."""
    answer = subject.answers.get(purpose)
    if answer is None or not isinstance(answer.event, ConsentGiven):
        return None
    return Logged(answer.index, answer.time, answer.key_id, answer.event)


def _history(subject: SubjectState) -> Iterator[HistoryLine]:
    printable = ConsentGiven | ConsentRefused | ConsentWithdrawn | ConsentRequested
    for entry in reversed(subject.history):
        what = entry.event.model_dump(include={"type"})["type"].replace(".", "_")
        purposes = in_order(getattr(entry.event, "purposes", ()))
        yield HistoryLine(
            entry.index, entry.time, what, purposes, isinstance(entry.event, printable)
        )


def _count_today(view: TodayView, subject: SubjectState, midnight: datetime) -> None:
    for entry in reversed(subject.history):
        if entry.time < midnight:
            return
        view.num_given += isinstance(entry.event, ConsentGiven)
        view.num_withdrawn += isinstance(entry.event, ConsentWithdrawn)


def _band(ends: datetime | None, at: datetime) -> str | None:
    if ends is None:
        return None
    return next((name for name, days in BANDS.items() if ends - at <= timedelta(days=days)), None)


def _is_long_over(line: PersonLine, at: datetime) -> bool:
    return line.status is Status.EXPIRED and line.ends is not None and at - line.ends > RECENTLY
