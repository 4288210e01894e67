import dataclasses
import time

import pytest

from consent.attestation import (
    Counts,
    FrameCount,
    attestation_digest,
    open_attestation,
    sign_attestation,
)
from consent.attestation_check import Seen, verify_attestation
from consent.errors import AttestationError, BadSignatureError, ConsentError, LogRolledBackError
from consent.keys import SigningKey
from consent.model import Purpose
from consent.note import TreeHead, sign_tree_head
from tests.consent.heads import EXPECTED, LOG, SITE, Heads, attestation

ENTRIES = [b"anna", b"ben", b"cleo"]


def verify(envelope, expected=EXPECTED, seen=None):
    return verify_attestation(
        envelope,
        site_key=SITE.verifier,
        log_key=LOG.verifier,
        expected=expected,
        seen=seen,
    )


def refused(statement, expected=EXPECTED, seen=None) -> str:
    with pytest.raises(AttestationError) as caught:
        verify(sign_attestation(statement, SITE), expected, seen)
    return caught.value.code


def seen_at(heads, size, **changes) -> Seen:
    return dataclasses.replace(Seen(heads.head(size), "9" * 64), **changes)


def test_round_trip() -> None:
    made = attestation(Heads(*ENTRIES), start=2)
    got, seen = verify(sign_attestation(made, SITE))
    assert got == made
    assert (seen.tree_head.size, seen.digest) == (3, attestation_digest(made))
    assert (seen.spent, seen.epsilon_total) == ((), None)


REPLAYS = {
    "in the next round": ({"round": 4}, "wrong_round"),
    "in another run": ({"run_id": "other"}, "wrong_round"),
    "with another nonce": ({"nonce": "cd" * 16}, "wrong_round"),
    "by another site": ({"site": "site-b"}, "wrong_site"),
    "for other bytes": ({"update": "9" * 64}, "wrong_update"),
    "for another model": ({"model_in": "9" * 64}, "wrong_model"),
    "for another purpose": ({"purpose": Purpose.PRETRAINING}, "wrong_purpose"),
    "with too few people": ({"min_subjects": 1}, "too_few_subjects"),
    "after another one": ({"previous": "8" * 64}, "broken_chain"),
}


@pytest.mark.parametrize(("changes", "code"), REPLAYS.values(), ids=REPLAYS.keys())
def test_replayed_training_receipt_is_refused(changes, code) -> None:
    """Adversarial case 5."""
    assert refused(attestation(Heads(*ENTRIES), **changes)) == code


def test_a_chain_that_starts_anew_is_refused() -> None:
    """The site denies what it signed in the rounds before."""
    heads = Heads(*ENTRIES)
    seen = seen_at(heads, 3)
    for previous in (None, "8" * 64):
        statement = attestation(heads, old=3, previous=previous)
        assert refused(statement, seen=seen) == "broken_chain"
    verify(sign_attestation(attestation(heads, old=3, previous="9" * 64), SITE), seen=seen)


DEMANDS = {
    "no rules in force at the site": ({"policy": "5" * 64}, {}, "wrong_policy"),
    "other rules": ({"policy": "5" * 64}, {"policy": "6" * 64}, "wrong_policy"),
    "the agreed rules": ({"policy": "5" * 64}, {"policy": "5" * 64}, None),
    "no rules demanded": ({}, {"policy": "6" * 64}, None),
    "other software": ({"code": frozenset({"5" * 64})}, {}, "wrong_code"),
    "the agreed software": ({"code": frozenset({"4" * 64, "5" * 64})}, {}, None),
    "no noise where it is demanded": ({"needs_noise": True}, {}, "wrong_epsilon"),
}


@pytest.mark.parametrize(("demand", "changes", "code"), DEMANDS.values(), ids=DEMANDS.keys())
def test_what_a_server_demands(demand, changes, code) -> None:
    expected = dataclasses.replace(EXPECTED, **demand)
    statement = attestation(Heads(*ENTRIES), **changes)
    if code is None:
        verify(sign_attestation(statement, SITE), expected)
    else:
        assert refused(statement, expected) == code


def test_signature_of_another_site_is_refused() -> None:
    other = SigningKey.from_seed("site-b/site", b"o" * 32)
    with pytest.raises(BadSignatureError):
        verify(sign_attestation(attestation(Heads(*ENTRIES)), other))


@pytest.mark.parametrize("start", [1, 3])
def test_tree_heads_of_another_log_are_refused(start) -> None:
    other = Heads(*ENTRIES, key=SigningKey.from_seed(LOG.name, b"z" * 32))
    good = Heads(*ENTRIES).state(start)
    for part in ("start_head", "tree_head"):
        mixed = good.model_copy(update={part: getattr(other.state(start), part)})
        with pytest.raises(BadSignatureError):
            verify(sign_attestation(attestation(Heads(*ENTRIES), consent=mixed), SITE))


def test_site_hides_a_withdrawal() -> None:
    """The site goes back to a copy of its log from before the withdrawal, and lets that grow."""
    honest = Heads(*ENTRIES, b"ben withdraws", b"dora")
    seen = seen_at(honest, 4)
    lies = {
        "the old log as it was": Heads(*ENTRIES),
        "of the same size, with another entry": Heads(*ENTRIES, b"dora"),
        "longer, but no extension": Heads(*ENTRIES, b"dora", b"ed"),
    }
    for lie in lies.values():
        old = min(4, len(lie.leaves))
        statement = attestation(lie, start=3, old=old, previous="9" * 64)
        with pytest.raises(LogRolledBackError):
            verify(sign_attestation(statement, SITE), seen=seen)
    statement = attestation(honest, start=4, old=4, previous="9" * 64)
    verify(sign_attestation(statement, SITE), seen=seen)


def test_round_that_began_on_an_older_log_than_the_server_saw_is_refused() -> None:
    heads = Heads(*ENTRIES, b"ben withdraws")
    expected = dataclasses.replace(EXPECTED, tree_size=4)
    with pytest.raises(LogRolledBackError, match="3 entries at the start, 4 seen before"):
        verify(sign_attestation(attestation(heads, start=3), SITE), expected)
    verify(sign_attestation(attestation(heads, start=4), SITE), expected)


def test_start_of_another_history_is_refused() -> None:
    """What the gate ruled on must be the beginning of what is shown at the end."""
    heads, other = Heads(*ENTRIES, b"ben withdraws"), Heads(*ENTRIES[:2], b"forged")
    state = heads.state(3).model_copy(
        update={"start_head": sign_tree_head(other.head(), other.key)}
    )
    with pytest.raises(LogRolledBackError):
        verify(sign_attestation(attestation(heads, consent=state), SITE))


def test_counts_are_under_the_signature() -> None:
    counts = Counts(recordings=5, frames=(FrameCount(au=1, frames=7), FrameCount(au=12, frames=0)))
    got, _ = verify(sign_attestation(attestation(Heads(*ENTRIES), counts=counts), SITE))
    assert got.counts is not None
    assert got.counts.by_au() == {1: 7, 12: 0}


def test_without_counts_nothing_tells_how_many(monkeypatch) -> None:
    statement = attestation(Heads(*ENTRIES))
    text = open_attestation(sign_attestation(statement, SITE), SITE.verifier).attestation
    assert text.counts is None
    assert text.min_subjects == EXPECTED.min_subjects


def test_check_takes_at_most_two_milliseconds() -> None:
    """A log of 100,000 entries; the median of 50 checks."""
    heads = Heads(*(b"%d" % i for i in range(100_000)))
    seen = seen_at(heads, 99_991)
    statement = attestation(heads, start=99_990, old=99_991, previous="9" * 64)
    envelope = sign_attestation(statement, SITE)
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        verify(envelope, seen=seen)
        times.append(time.perf_counter() - begin)
    assert sorted(times)[25] < 0.002


def test_any_changed_byte_is_refused() -> None:
    envelope = sign_attestation(attestation(Heads(*ENTRIES)), SITE)
    for at in range(0, len(envelope), 7):
        bent = bytearray(envelope)
        bent[at] ^= 1
        try:
            got, _ = verify(bytes(bent))
        except ConsentError:
            continue
        # Only the hint about the key may change: the specification says not to rely on it.
        assert b'"keyid"' in envelope[at - 20 : at + 20]
        assert got == attestation(Heads(*ENTRIES))


def test_head_may_carry_signatures_of_witnesses() -> None:
    heads = Heads(*ENTRIES)
    witness = SigningKey.from_seed("witness", b"w" * 32)
    line = sign_tree_head(TreeHead(*dataclasses.astuple(heads.head())), witness).split("\n\n")[1]
    state = heads.state(3)
    state = state.model_copy(update={"tree_head": state.tree_head + line})
    verify(sign_attestation(attestation(heads, consent=state), SITE))
