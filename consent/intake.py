"""Takes in consent that was given elsewhere: all of it, or nothing and every reason.

An ``Answer`` is one person's answer to one purpose, wherever it was read from. Reasons name lines,
never people. The log's time is that of the import; the evidence shows when consent was given.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from consent.checks import check_event
from consent.errors import ConsentError, RecordError
from consent.events import ConsentEvent
from consent.model import (
    SHA256,
    TERRITORY,
    Conditions,
    ConsentKind,
    Grant,
    Moment,
    NoticeRef,
    Part,
    Purpose,
    Relation,
    Role,
)
from consent.registry import Registry
from consent.standing import Logged, SubjectState
from consent.state import State
from consent.subject_events import ConsentGiven, ConsentRefused

_OF_PERSON = ("relation", "jurisdiction", "adult_from")
_BUNDLE = re.compile(r"[\s,;+&|/]|^(all|any|everything|yes|\*)$", re.IGNORECASE)


def _day_as_moment(value: object) -> object:
    is_day = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII)
    return f"{value}T00:00:00Z" if is_day else value


class Answer(Part):
    """One person's answer to one purpose."""

    outside_id: str = Field(min_length=1, max_length=256)  # what the site calls the person
    relation: Relation
    jurisdiction: str = Field(pattern=TERRITORY)
    adult_from: date | None = None  # of a minor
    purpose: Purpose
    answer: Literal["given", "refused"]
    kind: ConsentKind | None = None
    evidence: str | None = Field(None, pattern=SHA256)
    notice: str = Field(min_length=1, max_length=64)
    version: int = Field(ge=1)
    language: str = Field(pattern="^[a-z]{2}(-[A-Z]{2})?$")
    notice_sha256: str | None = Field(None, pattern=SHA256)  # if the source tells it
    expires_at: Annotated[Moment | None, BeforeValidator(_day_as_moment)] = None
    conditions: Conditions = Conditions()

    @model_validator(mode="after")
    def _given_is_shown(self) -> Answer:
        if self.answer == "given" and (self.kind is None or self.evidence is None):
            raise ValueError("consent that was given needs kind and evidence")
        return self


@dataclass(frozen=True)
class Problem:
    """Why a line cannot be taken in."""

    line: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What would be written. Nothing, if there is a problem."""

    events: tuple[ConsentEvent, ...]
    num_people: int
    num_answers: int
    problems: tuple[Problem, ...]


@dataclass
class _Person:
    """What a file says about one person."""

    first: tuple[int, Answer]
    answers: list[tuple[int, Answer]] = field(default_factory=list)


def read_answer(line: int, values: dict[str, object]) -> Answer | Problem:
    """Return an answer, or what is wrong with it. No value of it is repeated."""
    purpose = values.get("purpose")
    if isinstance(purpose, list) or (isinstance(purpose, str) and _BUNDLE.search(purpose)):
        return Problem(
            line,
            "one tick for several purposes is consent to none of them; each purpose is asked, "
            "and stands in the file, on its own",
        )
    try:
        return Answer.model_validate(values)
    except ValidationError as e:
        first = e.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(line, f"{where}: {first['msg']}" if where else first["msg"])


def plan_import(registry: Registry, found: Iterable[tuple[int, Answer | Problem]]) -> Plan:
    """Check everything against the log, and write nothing."""
    people: dict[str, _Person] = {}
    problems = []
    for line, answer in found:
        if isinstance(answer, Problem):
            problems.append(answer)
        else:
            person = people.setdefault(answer.outside_id.strip(), _Person((line, answer)))
            person.answers.append((line, answer))
    trial = copy.copy(registry.state())  # people who would be new are added to it alone
    trial.subjects = dict(trial.subjects)
    at = registry.now()
    events: list[ConsentEvent] = []
    for person in people.values():
        wrong = _disagreements(person)
        if not wrong:
            planned, wrong = _plan_person(registry, trial, person, at)
            events += planned
        problems += wrong
    num_answers = sum(len(p.answers) for p in people.values())
    problems.sort(key=lambda p: p.line)
    return Plan(() if problems else tuple(events), len(people), num_answers, tuple(problems))


def write(registry: Registry, plan: Plan) -> range:
    """Append what was planned, in one step: all of it or nothing.

    Raises:
        RecordError: The plan has problems, or no longer fits the log.
    """
    if plan.problems:
        raise RecordError(f"{len(plan.problems)} lines cannot be taken in; nothing was written")
    return registry.append(plan.events, Role.REGISTRAR)


def _disagreements(person: _Person) -> list[Problem]:
    """Compare the lines about one person with each other."""
    problems, seen = [], dict[Purpose, int]()
    first_line, first = person.first
    for line, answer in person.answers:
        differ = [name for name in _OF_PERSON if getattr(answer, name) != getattr(first, name)]
        if differ:
            why = f"{', '.join(differ)} differs from line {first_line}, which is the same person"
            problems.append(Problem(line, why))
        if answer.purpose in seen:
            before = seen[answer.purpose]
            problems.append(
                Problem(line, f"{answer.purpose} was answered in line {before} already")
            )
        seen.setdefault(answer.purpose, line)
    return problems


def _plan_person(
    registry: Registry, trial: State, person: _Person, at: datetime
) -> tuple[list[ConsentEvent], list[Problem]]:
    line, first = person.first
    events: list[ConsentEvent] = []
    try:
        registered = registry.registration(
            first.outside_id, first.relation, first.jurisdiction, first.adult_from
        )
        subject_id = trial.tags.get(registered.tag or "")
        if subject_id is None:
            check_event(trial, registered, at)
            subject_id = registered.subject_id
            logged = Logged(trial.size, at, "", registered)
            trial.subjects[subject_id] = SubjectState(subject_id, registered=logged)
            events.append(registered)
        else:
            _check_same(trial, subject_id, first)
    except ConsentError as e:
        return [], [Problem(line, str(e))]
    problems = []
    for number, answer in person.answers:
        try:
            event = _event(trial, subject_id, [answer])
            _check_new(trial, subject_id, event)
            check_event(trial, event, at)
        except ConsentError as e:
            problems.append(Problem(number, str(e)))
    if not problems:
        events += [_event(trial, subject_id, form) for form in _forms(person.answers)]
    return events, problems


def _check_same(state: State, subject_id: str, answer: Answer) -> None:
    known = state.find(subject_id).registered
    assert known is not None, "found by a tag that registered it"
    for name in _OF_PERSON:
        if getattr(known.event, name) != getattr(answer, name):
            raise RecordError(f"this person is registered with another {name}")


def _check_new(state: State, subject_id: str, event: ConsentGiven | ConsentRefused) -> None:
    """Refuse what the log says already: a file is imported once."""
    (purpose,) = event.purposes
    known = state.find(subject_id).answers.get(purpose)
    if known is None or type(known.event) is not type(event) or known.event.notice != event.notice:
        return
    if isinstance(event, ConsentGiven):
        assert isinstance(known.event, ConsentGiven)
        if (known.event.evidence, known.event.grant(purpose)) != (event.evidence, event.grants[0]):
            return
    raise RecordError(f"entry {known.index} says the same already")


def _forms(answers: Sequence[tuple[int, Answer]]) -> list[list[Answer]]:
    """Group answers that were given together, on one form."""
    forms: dict[tuple[object, ...], list[Answer]] = {}
    for _, a in answers:
        key = (a.answer, a.notice, a.version, a.language, a.kind, a.evidence)
        forms.setdefault(key, []).append(a)
    return list(forms.values())


def _event(state: State, subject_id: str, form: Sequence[Answer]) -> ConsentGiven | ConsentRefused:
    first, notice = form[0], _notice(state, form[0])
    if first.answer == "refused":
        purposes = tuple(a.purpose for a in form)
        return ConsentRefused(subject_id=subject_id, purposes=purposes, notice=notice)
    assert first.kind is not None, "checked by Answer"
    grants = tuple(
        Grant(purpose=a.purpose, expires_at=a.expires_at, conditions=a.conditions) for a in form
    )
    return ConsentGiven(
        subject_id=subject_id,
        grants=grants,
        notice=notice,
        kind=first.kind,
        evidence=first.evidence,
    )


def _notice(state: State, answer: Answer) -> NoticeRef:
    known = state.notices.get(answer.notice)
    texts = known.versions.get(answer.version, {}) if known else {}
    if answer.language not in texts:
        raise RecordError(
            f"notice {answer.notice!r} version {answer.version} ({answer.language}) was not "
            "published here: omote-consent notice add"
        )
    notice = texts[answer.language].event.notice
    if answer.notice_sha256 not in (None, notice.sha256):
        raise RecordError(f"notice {answer.notice!r} has other words here than where it was shown")
    return notice
