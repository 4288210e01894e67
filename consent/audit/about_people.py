"""Questions about people: what stands today, what ends soon, who left, who was shown what."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from consent.audit.facts import Draft, Facts, count, day, listed, minute
from consent.audit.report import Answer, Outcome
from consent.model import Purpose, SubjectEvent
from consent.standing import Logged, SubjectState
from consent.state import Status
from consent.subject_events import ConsentGiven, ConsentWithdrawn

SOON = (30, 60, 90)  # days


def valid_today(facts: Facts, draft: Draft) -> Answer:
    """Question 2."""
    people = list(facts.people())
    rows = []
    for purpose in Purpose:
        standings = Counter(facts.standing(s, purpose).status.value for s in people)
        allowed = standings.pop(Status.ALLOWED.value, 0)
        where = Counter(
            person.registered.event.jurisdiction
            for s in facts.allowed(purpose)
            if (person := facts.state.subjects[s]).registered
        )
        rows.append((purpose.value.replace("_", " "), allowed, listed(where), listed(standings)))
    if not people:
        return draft.nothing("Nobody is registered.")
    trained = sum(bool(row[1]) for row in rows)
    return draft(
        f"{count(len(people), 'person is', 'people are')} registered; {count(trained, 'purpose')} "
        "may be served today.",
        ("Purpose", "May be used", "Jurisdictions", "All others"),
        rows,
    )


def ends_soon(facts: Facts, draft: Draft) -> Answer:
    """Question 3."""
    rows = []
    for days in SOON:
        until = facts.at + timedelta(days=days)
        ending: Counter[str] = Counter()
        for purpose in Purpose:
            for subject_id in facts.allowed(purpose):
                given = facts.state.subjects[subject_id].answers[purpose].event
                end = given.grant(purpose).expires_at if isinstance(given, ConsentGiven) else None
                if end is not None and end <= until:
                    ending[purpose.value] += 1
        rows.append((f"{days} days", ending.total(), listed(ending)))
    if not rows[-1][1]:
        return draft("Nothing ends within 90 days.")
    draft.flag(
        Outcome.LOOK, "Ask these people in good time, if they are still needed. Silence ends it."
    )
    return draft(
        f"{count(rows[0][1], 'grant')} within 30 days, {rows[-1][1]} within 90.",
        ("Within", "Grants", "Purposes"),
        rows,
    )


def withdrawn(facts: Facts, draft: Draft) -> Answer:
    """Question 4."""
    rows, late = [], 0
    for person in facts.state.subjects.values():
        for item in person.history:
            if isinstance(item.event, ConsentWithdrawn):
                effect, is_late = _effect(facts, person, item)
                late += is_late
                rows.append((person.subject_id, minute(item.time), item.index, effect))
    if not rows:
        return draft("Nobody.")
    answer = f"{count(len(rows), 'withdrawal')}; "
    if late:
        draft.flag(
            Outcome.FINDING,
            "A round was signed with someone who had withdrawn before. Stop training, find out how "
            "the gate was passed, and tell these people.",
        )
        answer += f"{late} did not take effect."
    else:
        answer += "every round signed since leaves these people out."
    return draft(answer, ("Person", "Withdrawn", "Entry", "Next round of that purpose"), rows)


def _effect(facts: Facts, person: SubjectState, item: Logged[SubjectEvent]) -> tuple[str, bool]:
    """Say what the next round did about a withdrawal, and whether it came too late."""
    assert isinstance(item.event, ConsentWithdrawn)
    given = [i.index for i in person.history if isinstance(i.event, ConsentGiven)]
    again = min((index for index in given if index > item.index), default=facts.log.size)
    after = [
        c
        for c in facts.checks
        if item.index < c.item.index < again and c.item.event.purpose in item.event.purposes
    ]
    for check in after:
        if person.subject_id in check.subjects:
            return f"{check.name}: with this person", True
    if not after:
        return "none since", False
    hours = (after[0].item.time - item.time).total_seconds() / 3600
    return f"{after[0].name}, {hours:.1f} h later: without", False


def one_person(facts: Facts, draft: Draft) -> Answer:
    """Question 5."""
    return draft(
        "For each registered person, on request: omote-consent audit export sar SUBJECT. It "
        f"covers {count(sum(1 for _ in facts.people()), 'person', 'people')} today."
    )


def texts(facts: Facts, draft: Draft) -> Answer:
    """Question 8."""
    shown: Counter[tuple[str, int, str]] = Counter()
    lost = 0
    for person in facts.state.subjects.values():
        for item in person.history:
            if isinstance(item.event, ConsentGiven):
                ref = item.event.notice
                notice = facts.state.notices.get(ref.notice_id)
                lost += notice is None or notice.find(ref) is None
                shown[ref.notice_id, ref.version, ref.language] += 1
    rows = []
    for name, notice in facts.state.notices.items():
        for number, languages in notice.versions.items():
            for language, published in languages.items():
                uses, digest = shown[name, number, language], published.event.notice.sha256
                rows.append((name, number, language, day(published.time), uses, digest))
    if lost:
        draft.flag(Outcome.FINDING, "Treat these consents as never given, and ask again.")
        return draft(
            f"{count(lost, 'consent names', 'consents name')} a text that was never published."
        )
    if not rows:
        return draft.nothing("No notice was published.")
    draft.evidence.append("each text is in the log word for word: omote-consent notice list")
    return draft(
        "Each consent names its text by version, language and digest; all of them were published.",
        ("Notice", "Version", "Language", "Since", "Consents", "SHA-256"),
        rows,
    )


def minors(facts: Facts, draft: Draft) -> Answer:
    """Question 12."""
    rows, waiting = [], 0
    for subject_id in facts.people():
        person = facts.state.subjects[subject_id]
        assert person.registered is not None
        adult_from = person.registered.event.adult_from
        if adult_from is None:
            continue
        standings = Counter(facts.standing(subject_id, p).status for p in Purpose)
        asks = standings[Status.NEEDS_GUARDIAN] + standings[Status.NEEDS_OWN_CONSENT]
        waiting += bool(asks)
        state = "of age" if not person.is_minor(facts.at) else "minor"
        rows.append((subject_id, adult_from, state, len(person.guardians), f"{asks} purposes"))
    if not rows:
        return draft.nothing("No minor is registered.")
    if waiting:
        draft.flag(
            Outcome.LOOK,
            "Ask those who came of age for themselves, and the guardians of the others. Their data "
            "is left out until then.",
        )
    return draft(
        f"{count(len(rows), 'person', 'people')} registered as minors; {waiting} must be asked.",
        ("Person", "Of age from", "Now", "Guardians", "To be asked"),
        rows,
    )


def erasures(facts: Facts, draft: Draft) -> Answer:
    """Question 18."""
    erased = [p.erased for p in facts.state.subjects.values() if p.erased]
    rows = [(minute(e.time), e.index, e.event.ground, len(e.event.entries)) for e in erased]
    if facts.state.lost:
        draft.flag(
            Outcome.FINDING,
            "Find out why these entries cannot be opened: no erasure names them. Bring back the "
            "keystore that belongs to this log, if there is one.",
        )
        some = sorted(facts.state.lost)[:20]
        draft.evidence.append(f"cannot be opened, and not erased: entries {some}")
    if not rows and not facts.state.lost:
        return draft("Nobody was erased, and no entry is unreadable.")
    return draft(
        f"{count(len(rows), 'person', 'people')} erased; their entries cannot be opened by anyone, "
        f"and the log still holds. {count(len(facts.state.lost), 'entry', 'entries')} cannot be "
        "opened for another reason.",
        ("When", "Entry", "Ground", "Entries closed"),
        rows,
    )
