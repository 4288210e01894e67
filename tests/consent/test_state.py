import copy
from datetime import date, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from consent.model import Conditions, Purpose, Role
from consent.site_events import Countersigned, KeyAdded, KeyRevoked, RoundSigned, SubjectErased
from consent.state import State, Status, decide
from consent.subject_events import GuardianLinked, MajorityReached
from tests.consent.conftest import EVIDENCE, key_of
from tests.consent.replaying import (
    IDS,
    KEYS,
    Replayed,
    day,
    ended,
    given,
    published,
    refused,
    registered,
    withdrawn,
)

F, P = Purpose.FINETUNING, Purpose.PRETRAINING
HOUR = timedelta(hours=1)


def status(replayed, at, purpose=F, subject="anna"):
    return decide(replayed.state, subject, purpose, at).status


CASES = {
    "nothing asked": ([], Status.NEVER_GIVEN),
    "given": ([given()], Status.ALLOWED),
    "given for something else": ([given(P)], Status.NEVER_GIVEN),
    "given, then withdrawn": ([given(), withdrawn()], Status.WITHDRAWN),
    "another purpose withdrawn": ([given(F, P), withdrawn(P)], Status.ALLOWED),
    "withdrawn, then given again": ([given(), withdrawn(), given()], Status.ALLOWED),
    "refused after it was given": ([given(), refused()], Status.REFUSED),
    "revoked by an authority": ([given(), ended("consent.revoked")], Status.REVOKED),
    "found invalid": ([given(), ended("consent.invalidated")], Status.INVALIDATED),
    "written down as expired": ([given(), ended("consent.expired")], Status.EXPIRED),
    "on a notice that was never published": ([given(notice=7)], Status.INVALIDATED),
    "in a language that was not published": ([given(language="ja")], Status.INVALIDATED),
    "to rounds in another territory": (
        [given(conditions=Conditions(territories=("JP",)))], Status.ELSEWHERE),
    "to rounds in this territory": (
        [given(conditions=Conditions(territories=("JP", "DE")))], Status.ALLOWED),
}  # fmt: skip


@pytest.mark.parametrize(("events", "want"), CASES.values(), ids=CASES.keys())
def test_what_a_log_allows(events, want) -> None:
    replayed = Replayed(published(), registered(), *events, territory="DE-BY")
    assert status(replayed, day(99)) is want
    assert decide(replayed.state, "anna", F, day(99)).why


def test_nobody_is_allowed_by_default() -> None:
    replayed = Replayed(published(), given())
    assert status(replayed, day(9)) is Status.UNKNOWN  # agreed, but never registered
    assert status(replayed, day(9), subject="ben") is Status.UNKNOWN


def test_a_notice_must_have_asked_for_the_purpose() -> None:
    replayed = Replayed(published(purposes=(P,)), registered(), given(F))
    assert status(replayed, day(9)) is Status.INVALIDATED


def test_consent_expires_at_the_very_second() -> None:
    replayed = Replayed(published(), registered(), given(expires_at=day(30)))
    assert status(replayed, day(30) - timedelta(seconds=1)) is Status.ALLOWED
    assert status(replayed, day(30)) is Status.EXPIRED


# --- case 20: a minor turns adult, a notice changes, rounds are used up, each at its boundary -----


def minor(*events):
    adult_from = day(100).date()
    return Replayed(published(), registered(adult_from=adult_from), registered("mum"), *events)


def linked(subject="anna", guardian="mum"):
    return GuardianLinked(subject_id=subject, guardian_id=guardian, evidence=EVIDENCE)


def test_minor_needs_a_linked_guardian() -> None:
    assert status(minor(given()), day(50)) is Status.NEEDS_GUARDIAN
    assert status(minor(given(guardian="mum")), day(50)) is Status.NEEDS_GUARDIAN
    assert status(minor(linked(), given()), day(50)) is Status.NEEDS_GUARDIAN
    assert status(minor(linked(), given(guardian="stranger")), day(50)) is Status.NEEDS_GUARDIAN
    assert status(minor(linked(), given(guardian="mum")), day(50)) is Status.ALLOWED
    assert status(minor(linked(), given(guardian="mum"), refused()), day(50)) is Status.REFUSED


def test_minor_who_comes_of_age_must_agree_anew() -> None:
    replayed = minor(linked(), given(guardian="mum"))
    assert status(replayed, day(100) - timedelta(seconds=1)) is Status.ALLOWED
    assert status(replayed, day(100)) is Status.NEEDS_OWN_CONSENT
    replayed.add(given(), at=day(100))
    assert status(replayed, day(100)) is Status.ALLOWED


def test_majority_can_be_said_before_its_day() -> None:
    replayed = minor(linked(), given(guardian="mum"))
    replayed.add(MajorityReached(subject_id="anna"), Role.REGISTRAR, at=day(40))
    assert status(replayed, day(41)) is Status.NEEDS_OWN_CONSENT


def test_changed_notice_makes_only_the_changed_purposes_stale() -> None:
    replayed = Replayed(published(), registered(), given(F, P))
    assert status(replayed, day(9)) is Status.ALLOWED
    replayed.add(published(2))  # clearer words, the same promises
    assert status(replayed, day(9)) is Status.ALLOWED
    replayed.add(published(3, changed=(F,)))
    assert status(replayed, day(9)) is Status.STALE_NOTICE
    assert status(replayed, day(9), P) is Status.ALLOWED
    replayed.add(published(3, "ja", changed=(F,)))
    replayed.add(given(F, notice=3, language="ja"))
    assert status(replayed, day(9)) is Status.ALLOWED


def signed(entry, round_, purpose=F):
    return RoundSigned(run_id="run", round=round_, purpose=purpose, model_in="1" * 64,
                       update="2" * 64, manifest="3" * 64, entries=(entry,),
                       attestation="{}")  # fmt: skip


def test_rounds_are_used_up_at_the_last_one() -> None:
    replayed = Replayed(published(), registered())
    entry = replayed.add(given(F, P, conditions=Conditions(max_rounds=2)))
    replayed.add(signed(entry, 1))
    replayed.add(signed(entry, 2, P))  # another purpose has its own count
    assert status(replayed, day(9)) is Status.ALLOWED
    replayed.add(signed(entry, 3))
    assert status(replayed, day(9)) is Status.EXHAUSTED
    replayed.add(given(F, conditions=Conditions(max_rounds=2)))
    assert status(replayed, day(9)) is Status.ALLOWED


# --- case 7: keys that were revoked or stolen -----------------------------------------------------


def revoked(role, since=None):
    return KeyRevoked(key=IDS[role], compromised_from=since)


def test_revoked_key_signs_nothing_after_its_entry() -> None:
    replayed = Replayed(published(), registered(), registered("ben"), given())
    replayed.add(revoked(Role.REGISTRAR))
    index = replayed.add(given(subject="ben"))
    assert status(replayed, day(9)) is Status.ALLOWED  # signed before
    assert status(replayed, day(9), subject="ben") is Status.NEVER_GIVEN
    assert [f.index for f in replayed.state.flags] == [index]


def test_what_a_stolen_key_signed_counts_again_once_another_key_stands_by_it() -> None:
    replayed = Replayed(published(), registered(), registered("ben"), given())
    doubtful = replayed.add(given(subject="ben"))
    replayed.add(revoked(Role.REGISTRAR, since=doubtful))
    assert status(replayed, day(9)) is Status.ALLOWED  # before the theft
    assert status(replayed, day(9), subject="ben") is Status.INVALIDATED
    replayed.add(Countersigned(entry=doubtful), Role.OPERATOR)  # no business of theirs
    assert status(replayed, day(9), subject="ben") is Status.INVALIDATED
    replayed.add(Countersigned(entry=doubtful), Role.DPO)
    assert status(replayed, day(9), subject="ben") is Status.ALLOWED


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.LOG])
def test_operator_who_signs_consent_is_not_heard_but_a_withdrawal_is(role) -> None:
    replayed = Replayed(published(), registered())
    replayed.add(given(), role)
    assert status(replayed, day(9)) is Status.NEVER_GIVEN
    replayed.add(given())
    replayed.add(withdrawn(), role)
    assert status(replayed, day(9)) is Status.WITHDRAWN
    assert len(replayed.state.flags) == 2


def test_withdrawal_by_a_key_that_nobody_knows_still_counts() -> None:
    replayed = Replayed(published(), registered(), given())
    replayed.add(withdrawn(), key="00000000")
    assert status(replayed, day(9)) is Status.WITHDRAWN


def test_key_smuggled_in_by_the_log_key_signs_nothing() -> None:
    replayed = Replayed(published(), registered())
    stranger = key_of(Role.SUBJECT).verifier
    replayed.add(KeyAdded(vkey=stranger.vkey, role=Role.REGISTRAR), Role.LOG)
    replayed.add(given(), key=stranger.key_id.hex())
    assert status(replayed, day(9)) is Status.NEVER_GIVEN


# --- properties -----------------------------------------------------------------------------------

PEOPLE = ("anna", "ben")
purposes = st.lists(st.sampled_from(list(Purpose)), min_size=1, max_size=3, unique=True)
answers = st.one_of(
    st.builds(lambda s, p: given(*p, subject=s), st.sampled_from(PEOPLE), purposes),
    st.builds(lambda s, p: refused(*p, subject=s), st.sampled_from(PEOPLE), purposes),
    st.builds(lambda s, p: withdrawn(*p, subject=s), st.sampled_from(PEOPLE), purposes),
    st.builds(
        lambda k, s, p: ended(k, *p, subject=s),
        st.sampled_from(["consent.revoked", "consent.invalidated", "consent.expired"]),
        st.sampled_from(PEOPLE),
        purposes,
    ),
)
MEANS = {
    "consent.given": Status.ALLOWED,
    "consent.refused": Status.REFUSED,
    "consent.withdrawn": Status.WITHDRAWN,
    "consent.revoked": Status.REVOKED,
    "consent.invalidated": Status.INVALIDATED,
    "consent.expired": Status.EXPIRED,
}


def start():
    return [published(), *(registered(s) for s in PEOPLE)]


@settings(max_examples=60)
@for_all(st.lists(answers, max_size=12))
def test_the_last_word_on_a_purpose_wins(events) -> None:
    replayed = Replayed(*start(), *events)
    for person in PEOPLE:
        for purpose in Purpose:
            about = [e for e in events if e.subject_id == person and purpose in e.purposes]
            want = MEANS[about[-1].type] if about else Status.NEVER_GIVEN
            assert status(replayed, day(99), purpose, person) is want


@settings(max_examples=60)
@for_all(st.lists(answers, max_size=8), st.lists(answers, max_size=8))
def test_withdrawal_is_overridden_by_nothing_but_a_later_grant(before, after) -> None:
    replayed = Replayed(*start(), *before, withdrawn(F), *after)
    later = [e for e in after if e.type == "consent.given" and e.subject_id == "anna"]
    if not any(F in e.purposes for e in later):
        assert status(replayed, day(99)) is not Status.ALLOWED


@settings(max_examples=60)
@for_all(st.lists(answers, max_size=10), st.data())
def test_prefix_and_rest_give_the_same_as_all_at_once(events, data) -> None:
    entries = [(i, e) for i, e in enumerate([*start(), *events])]
    cut = data.draw(st.integers(0, len(entries)))
    prefix = Replayed(*(e for _, e in entries[:cut]))
    copied = copy.deepcopy(prefix.state)
    for number, event in entries[cut:]:
        prefix.add(event, at=day(number))
    whole = Replayed(*(e for _, e in entries))
    assert prefix.state == whole.state
    assert copied.size == whole.founding + cut


@settings(max_examples=30)
@for_all(st.lists(answers, max_size=10), st.sampled_from(list(Purpose)), st.integers(0, 99))
def test_deciding_changes_nothing_and_says_the_same_twice(events, purpose, when) -> None:
    replayed = Replayed(*start(), *events)
    before = copy.deepcopy(replayed.state)
    first = decide(replayed.state, "anna", purpose, day(when))
    assert decide(replayed.state, "anna", purpose, day(when)) == first
    assert replayed.state == before


@settings(max_examples=30)
@for_all(st.lists(answers, max_size=10))
def test_erased_person_leaves_the_same_whether_read_before_or_after(events) -> None:
    all_ = [*start(), *events]
    seen = Replayed(*all_)
    mine = tuple(seen.state.find("anna").entries)
    erasure = SubjectErased(subject_id="anna", entries=mine, ground="GDPR 17(1)(b)")
    seen.add(erasure, at=day(50))
    later = State()
    for index, event in enumerate([*_founding(), *all_, erasure]):
        gone = index in mine
        at = day(50) if event is erasure else day(max(0, index - seen.founding))
        key = IDS[Role.LOG] if index < seen.founding else None
        later.apply(index, at, key or _usual(event), None if gone else event)
    assert later == seen.state
    assert status(seen, day(99)) is Status.ERASED
    assert later.lost == set()


def _founding():
    from consent.site_events import SiteDescribed

    yield from (KeyAdded(vkey=key.vkey, role=role) for role, key in KEYS.items())
    yield SiteDescribed(site="site-a", territory=None)


def _usual(event):
    from tests.consent.replaying import signer_of

    return IDS[signer_of(event)]


def test_unreadable_without_an_erasure_is_lost() -> None:
    replayed = Replayed(published(), registered())
    index = replayed.state.size
    replayed.state.apply(index, day(5), IDS[Role.REGISTRAR], None)
    assert replayed.state.lost == {index}


def test_days_of_majority_are_days_not_hours() -> None:
    replayed = Replayed(published(), registered(adult_from=date(2026, 2, 1)))
    person = replayed.state.find("anna")
    assert person.is_minor(day(31) - HOUR)
    assert not person.is_minor(day(31))
