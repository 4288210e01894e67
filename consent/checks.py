"""May this event be written, given what the log says already? Pure. Errors name no person."""

from __future__ import annotations

import hashlib
from datetime import datetime

from consent import site_events, subject_events
from consent.errors import RecordError
from consent.events import ConsentEvent
from consent.model import NoticeRef, Purpose, SubjectEvent
from consent.standing import Logged, NoticeState, SubjectState
from consent.state import State


def check_event(state: State, event: ConsentEvent, at: datetime) -> None:
    """Check that an event fits the log. Who signs it is checked by ``consent.roles``.

    Raises:
        RecordError: It does not. Says what was expected.
    """
    if isinstance(event, SubjectEvent):
        _check_about_subject(state, event, at)
    elif isinstance(event, site_events.NoticePublished):
        _check_notice(state, event)
    elif isinstance(event, site_events.SubjectErased):
        _check_erased(state, event)
    elif isinstance(event, site_events.AssetLinked):
        _check_asset(state, event)
    elif isinstance(event, site_events.AssetEnded):
        if event.asset not in state.assets:
            raise RecordError("no recording of this digest is linked")
    elif isinstance(event, site_events.Countersigned) and event.entry >= state.size:
        raise RecordError(f"there is no entry {event.entry} to countersign")
    elif isinstance(event, site_events.RoundSigned) and any(e >= state.size for e in event.entries):
        raise RecordError("a round relies on an entry that the log does not have")
    elif isinstance(event, site_events.KeyRevoked) and event.key not in state.keys.keys:
        raise RecordError(f"there is no key {event.key} to revoke")


def current_notice(state: State, ref: NoticeRef) -> Logged[site_events.NoticePublished]:
    """Return the published text that a reference names.

    Raises:
        RecordError: No text was published just so.
    """
    found = state.notices.get(ref.notice_id, NoticeState()).find(ref)
    if found is None:
        raise RecordError(
            f"notice {ref.notice_id!r} version {ref.version} ({ref.language}) was not published in "
            "these words; see: omote-consent notice list"
        )
    return found


def find_notice(
    state: State, notice_id: str, version: int | None, language: str
) -> Logged[site_events.NoticePublished]:
    """Return the text of a notice, of the latest version unless another is named.

    Raises:
        RecordError: There is none in this language.
    """
    known = state.notices.get(notice_id, NoticeState())
    found = known.versions.get(version or known.latest, {}).get(language)
    if found is None:
        wanted = f"version {version}" if version else "any version"
        raise RecordError(
            f"notice {notice_id!r}: {wanted} in {language} was not published; "
            "see: omote-consent notice list"
        )
    return found


def _check_about_subject(state: State, event: SubjectEvent, at: datetime) -> None:
    person = state.subjects.get(event.subject_id)
    if person is not None and person.erased:
        raise RecordError(f"this person was erased at entry {person.erased.index}")
    if isinstance(event, subject_events.SubjectRegistered):
        if person is not None and person.registered:
            raise RecordError("this person is registered already")
        if event.tag is not None and event.tag in state.tags:
            raise RecordError("this outside id is registered already")
        return
    if person is None or person.registered is None:
        raise RecordError("no such person in this consent log; register them first")
    if isinstance(event, subject_events.ConsentGiven):
        _check_given(state, person, event, at)
    elif isinstance(event, subject_events.ConsentRequested | subject_events.ConsentRefused):
        _check_asked(current_notice(state, event.notice), event.purposes)
    elif isinstance(event, subject_events.GuardianLinked):
        _check_guardian(state, person, event, at)


def _check_given(
    state: State, person: SubjectState, event: subject_events.ConsentGiven, at: datetime
) -> None:
    notice = current_notice(state, event.notice)
    _check_asked(notice, event.purposes)
    for grant in event.grants:
        newer = state.notices[event.notice.notice_id].changed_since(
            event.notice.version, grant.purpose
        )
        if newer is not None:
            raise RecordError(
                f"version {newer} of the notice changed what it says about {grant.purpose}; show "
                "that one"
            )
        if grant.expires_at is not None and grant.expires_at <= at:
            raise RecordError(f"consent to {grant.purpose} would have expired already")
    if person.is_minor(at) and event.guardian_id not in person.guardians:
        raise RecordError("this person is a minor: a linked guardian must agree for them")
    if not person.is_minor(at) and event.guardian_id is not None:
        raise RecordError("this person is of age: nobody can agree for them")


def _check_asked(
    notice: Logged[site_events.NoticePublished], purposes: tuple[Purpose, ...]
) -> None:
    if beyond := sorted(set(purposes) - set(notice.event.purposes)):
        raise RecordError(f"the notice does not ask for {', '.join(beyond)}")


def _check_guardian(
    state: State, person: SubjectState, event: subject_events.GuardianLinked, at: datetime
) -> None:
    guardian = state.subjects.get(event.guardian_id)
    if guardian is None or guardian.registered is None or guardian is person:
        raise RecordError("the guardian must be registered as a person of their own")
    if guardian.is_minor(at):
        raise RecordError("the guardian is a minor")
    if not person.is_minor(at):
        raise RecordError("this person is of age and needs no guardian")


def _check_notice(state: State, event: site_events.NoticePublished) -> None:
    ref = event.notice
    if hashlib.sha256(event.text.encode()).hexdigest() != ref.sha256:
        raise RecordError("the notice's digest is not of its text")
    known = state.notices.get(ref.notice_id, NoticeState())
    if ref.version == known.latest + 1:
        return
    if ref.version != known.latest or ref.language in known.versions[ref.version]:
        raise RecordError(
            f"expected version {known.latest + 1} of the notice, or another language of version "
            f"{known.latest}; got version {ref.version} ({ref.language})"
        )
    other = next(iter(known.versions[ref.version].values())).event
    if (other.purposes, other.changed) != (event.purposes, event.changed):
        raise RecordError("all languages of one version must ask for the same purposes")


def _check_erased(state: State, event: site_events.SubjectErased) -> None:
    person = state.subjects.get(event.subject_id)
    if person is None:
        raise RecordError("no such person in this consent log")
    if person.erased:
        raise RecordError(f"this person was erased at entry {person.erased.index}")
    if event.entries != tuple(person.entries):
        raise RecordError("an erasure must list exactly the entries about that person")


def _check_asset(state: State, event: site_events.AssetLinked) -> None:
    for span in event.spans:
        for subject_id in span.subjects:
            person = state.subjects.get(subject_id)
            if person is None or person.registered is None:
                raise RecordError("a recording is linked to someone who is not registered")
    if event.derived_from is not None and event.derived_from not in state.assets:
        raise RecordError("the recording that this one was made of is not linked")
