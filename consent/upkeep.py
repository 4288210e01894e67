"""What is due, what is valid and what a withdrawal touches. Pure: from a state and a time.

Consent ends by itself at its time; a sweep only writes that down, for those who read the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from consent.errors import RecordError
from consent.model import NoticeRef, Purpose, Remedy
from consent.site_events import ModelRemediation
from consent.standing import SubjectState
from consent.state import State, Status, decide
from consent.subject_events import ConsentEnded, ConsentGiven, MajorityReached

HORIZONS_D = (30, 60, 90)

REMEDIES = {
    Remedy.NONE_JUSTIFIED: "Nothing was changed. The data still had its part in this model.",
    Remedy.ROLLBACK_AND_RETRAIN: "Trained again from before the person's first round.",
    Remedy.RETRAIN_SITE: "The site's part was trained again without the person.",
    Remedy.APPROXIMATE_UNLEARNING: "An approximate method was used. It guarantees nothing.",
    Remedy.RETIRE: "The model is used no more. Copies that were handed out still exist.",
}
"""What a remediation may claim. Only training again without the data removes it."""


def due_events(state: State, at: datetime) -> list[ConsentEnded | MajorityReached]:
    """Return the events that time has made true and the log does not say yet."""
    due: list[ConsentEnded | MajorityReached] = []
    for person in state.subjects.values():
        found = {p: decide(state, person.subject_id, p, at).status for p in person.answers}
        if Status.NEEDS_OWN_CONSENT in found.values() and person.majority is None:
            due.append(MajorityReached(subject_id=person.subject_id))
        expired = tuple(p for p, s in found.items() if s is Status.EXPIRED and _is_open(person, p))
        if expired:
            due.append(
                ConsentEnded(
                    type="consent.expired",
                    subject_id=person.subject_id,
                    purposes=expired,
                    reason="its time is over",
                )
            )
    return due


def _is_open(person: SubjectState, purpose: Purpose) -> bool:
    """Is the last word on a purpose still an agreement?"""
    return isinstance(person.answers[purpose].event, ConsentGiven)


def renewal(
    state: State,
    subject_id: str,
    notice: NoticeRef,
    evidence: str,
    at: datetime,
    valid: timedelta | None,
) -> ConsentGiven:
    """Return the event by which a person confirms what they agreed to before.

    Args:
        state: Of the log.
        subject_id: Who.
        notice: What they were shown now.
        evidence: SHA-256 of what shows it.
        at: When.
        valid: How long from now on; without it as long as the last time.

    Raises:
        RecordError: There is nothing to renew: refused, withdrawn or never given.
    """
    person = state.find(subject_id)
    grants = []
    for purpose, answer in person.answers.items():
        if not (_is_open(person, purpose) or answer.event.type == "consent.expired"):
            continue
        last = [i for i in person.history if isinstance(i.event, ConsentGiven)
                and purpose in i.event.purposes][-1]  # fmt: skip
        assert isinstance(last.event, ConsentGiven)
        grant = last.event.grant(purpose)
        lasted = grant.expires_at - last.time if grant.expires_at else None
        lasts = valid or lasted
        end = None if lasts is None else at + lasts
        grants.append(grant.model_copy(update={"expires_at": end}))
    if not grants:
        raise RecordError("there is nothing to renew; record a new consent with: give")
    return ConsentGiven(
        type="consent.renewed",
        subject_id=subject_id,
        grants=tuple(grants),
        notice=notice,
        evidence=evidence,
    )


def count_statuses(state: State, at: datetime) -> dict[Purpose, Counter[Status]]:
    """Count people by what may be done with their data. Numbers only."""
    return {
        purpose: Counter(decide(state, s, purpose, at).status for s in state.subjects)
        for purpose in Purpose
    }


def count_expiring(state: State, at: datetime) -> dict[Purpose, dict[int, int]]:
    """Count agreements that hold now and end within each horizon, in days."""
    counts = {purpose: dict.fromkeys(HORIZONS_D, 0) for purpose in Purpose}
    for person in state.subjects.values():
        for purpose, answer in person.answers.items():
            if decide(state, person.subject_id, purpose, at).status is not Status.ALLOWED:
                continue
            assert isinstance(answer.event, ConsentGiven)
            end = answer.event.grant(purpose).expires_at
            for days in HORIZONS_D:
                counts[purpose][days] += end is not None and end <= at + timedelta(days=days)
    return counts


@dataclass(frozen=True)
class Orphan:
    """A recording that nothing allows to be kept, and why."""

    asset: str
    why: str


def orphans(state: State, at: datetime) -> Iterator[Orphan]:
    """Yield recordings to delete: past their time, or of people who agree to nothing any more."""
    for digest, asset in state.assets.items():
        link = asset.linked.event
        if asset.ended is not None and asset.ended.event.type == "asset.deleted":
            continue
        if link.keep_until is not None and link.keep_until <= at:
            yield Orphan(digest, f"kept longer than {link.keep_until:%Y-%m-%d}")
        elif asset.ended is not None:
            yield Orphan(digest, f"unlinked at entry {asset.ended.index}")
        elif why := _nobody_agrees(state, {s for span in link.spans for s in span.subjects}, at):
            yield Orphan(digest, why)


def _nobody_agrees(state: State, people: set[str], at: datetime) -> str | None:
    if not people:
        return "nobody in it is known"
    gone = [s for s in people if not _agrees_to_anything(state, s, at)]
    if len(gone) == len(people):
        return "nobody in it agrees to any purpose"
    if any(state.subjects[s].erased for s in gone):
        return "someone in it was erased: delete it, or link a copy that masks them"
    return None


def _agrees_to_anything(state: State, subject_id: str, at: datetime) -> bool:
    return any(decide(state, subject_id, p, at).status is Status.ALLOWED for p in Purpose)


def entries_by(state: State, account: str) -> list[tuple[int, datetime, str]]:
    """Return index, time and type of all entries that a desk account recorded."""
    people = state.subjects.values()
    found = [(e.index, e.time, e.event.desk, e.event) for p in people for e in p.history]
    erased = [(e.index, e.time, e.event.desk, e.event) for p in people if (e := p.erased)]
    return sorted(
        (index, time, event.model_dump()["type"])
        for index, time, desk, event in (*found, *erased)
        if desk == account
    )


@dataclass(frozen=True)
class Touched:
    """Where a person's data had a part: entries of signed rounds, and models with descendants."""

    rounds: tuple[int, ...]
    models: tuple[str, ...]

    def remediations(self, state: State) -> dict[str, ModelRemediation | None]:
        """Return the last remediation of each model, or None."""
        done = {r.event.model: r.event for r in state.remediations}
        return {model: done.get(model) for model in self.models}


def touched_by(state: State, subject_id: str) -> Touched:
    """Return what a person's data had a part in. Also answers for a person who was erased.

    Raises:
        RecordError: There is no such person.
    """
    person = state.find(subject_id)
    entries = set(person.erased.event.entries if person.erased else person.entries)
    rounds = [r for r in state.rounds if entries & set(r.event.entries)]
    names = {(r.event.run_id, r.event.round) for r in rounds}
    models: dict[str, None] = {}
    for digest, item in state.models.items():  # in the order of the log: parents come first
        event = item.event
        came_from = {(event.run_id, number) for number in event.rounds}
        if names & came_from or any(parent in models for parent in event.parents):
            models[digest] = None
    return Touched(tuple(r.index for r in rounds), tuple(models))
