"""Adversarial case 18: a site that states less epsilon than its own parameters mean."""

import dataclasses
import math

import pytest

from consent import merkle
from consent.attestation import sign_attestation
from consent.attestation_check import Seen
from consent.epsilon import ORDERS, GaussianNoise, Spent, _rdp, add_spent, epsilon_of
from consent.errors import AttestationError
from consent.ledger_state import LedgerHead, LedgerState
from tests.consent.heads import EXPECTED, SITE, Heads, attestation
from tests.consent.test_attestation import refused, verify

SPENT = Spent(noise_multiplier="1.1", sample_rate="0.01", steps=800)
DELTA = "1e-6"
HEADS = Heads(b"a", b"b")


def text(epsilon: float) -> str:
    return f"{math.ceil(epsilon * 1000) / 1000:.3f}"


ONE, TWO = (text(epsilon_of([SPENT] * n, 1e-6)) for n in (1, 2))


def noise(**changes) -> GaussianNoise:
    fields = {
        "noise_multiplier": "1.1", "max_grad_norm": "1.0", "sample_rate": "0.01", "steps": 800,
        "delta": DELTA, "epsilon": ONE, "epsilon_total": ONE, **changes,
    }  # fmt: skip
    return GaussianNoise.model_validate(fields)


def statement(privacy, previous=None):
    return attestation(HEADS, old=2 if previous else 0, privacy=privacy, previous=previous)


def test_honest_rounds_pass_and_add_up() -> None:
    _, seen = verify(sign_attestation(statement(noise()), SITE))
    assert (seen.spent, seen.epsilon_total) == ((SPENT,), ONE)
    second = statement(noise(epsilon_total=TWO), seen.digest)
    _, seen = verify(sign_attestation(second, SITE), seen=seen)
    assert seen.spent == (SPENT.model_copy(update={"steps": 1600}),)
    assert float(ONE) < float(TWO) < 2 * float(ONE)


LIES = {
    "less than the parameters mean": {"epsilon": "0.1", "epsilon_total": ONE},
    "a total below the round's own": {"epsilon_total": "0.1"},
    "more steps, the same epsilon": {"steps": 8000},
    "less noise, the same epsilon": {"noise_multiplier": "0.9"},
    "more people in a step, the same epsilon": {"sample_rate": "0.5"},
    "a smaller delta, the same epsilon": {"delta": "1e-9"},
    "no noise at all": {"noise_multiplier": "0"},
    "more than everyone in a step": {"sample_rate": "1.5"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_epsilon_below_what_its_parameters_mean_is_refused(lie) -> None:
    assert refused(statement(noise(**lie))) == "wrong_epsilon"


AFTER = {
    "the total goes down": ("0.5", "ledger_restarted"),
    "the total stays, though another round was trained": (ONE, "wrong_epsilon"),
}


@pytest.mark.parametrize(("total", "code"), AFTER.values(), ids=AFTER.keys())
def test_total_that_does_not_grow_is_refused(total, code) -> None:
    _, seen = verify(sign_attestation(statement(noise()), SITE))
    lie = statement(noise(epsilon_total=total), seen.digest)
    assert refused(lie, seen=seen) == code


def test_total_does_not_start_anew_with_new_keys() -> None:
    """The server keeps the account by site, and enrolment changes the keys alone."""
    _, seen = verify(sign_attestation(statement(noise()), SITE))
    fresh = Seen(HEADS.head(), seen.digest, seen.spent, seen.epsilon_total)
    assert refused(statement(noise(), seen.digest), seen=fresh) == "wrong_epsilon"
    stopped = statement(noise(epsilon="9", epsilon_total="0.5"), seen.digest)
    assert refused(stopped, seen=fresh) == "ledger_restarted"


def test_a_round_without_noise_does_not_empty_the_account() -> None:
    _, seen = verify(sign_attestation(statement(noise()), SITE))
    bare = attestation(HEADS, old=2, previous=seen.digest)
    _, later = verify(sign_attestation(bare, SITE), seen=seen)
    assert (later.spent, later.epsilon_total) == (seen.spent, seen.epsilon_total)


def test_budget_is_kept() -> None:
    for most, fits in ((ONE, True), (text(float(ONE) - 0.01), False)):
        expected = dataclasses.replace(EXPECTED, needs_noise=True, max_epsilon=most)
        envelope = sign_attestation(statement(noise()), SITE)
        if fits:
            verify(envelope, expected)
        else:
            with pytest.raises(AttestationError, match="budget"):
                verify(envelope, expected)


def closed_form(q: float, s: float, order: int) -> float:
    """Mironov, Talwar and Zhang 2019, section 3.3, for whole orders."""
    terms = [
        math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-q) + k * math.log(q) + (k * k - k) / (2 * s * s)
        for k in range(order + 1)
    ]  # fmt: skip
    most = max(terms)
    return (most + math.log(sum(math.exp(t - most) for t in terms))) / (order - 1)


@pytest.mark.parametrize(("s", "q"), [(1.1, 0.01), (0.5, 0.1), (4, 0.5), (0.3, 0.05), (10, 0.02)])
def test_integral_agrees_with_the_closed_form(s, q) -> None:
    got = dict(zip(ORDERS, _rdp(s, q), strict=True))
    for order in (2, 3, 10, 64, 512):
        assert got[order] == pytest.approx(closed_form(q, s, int(order)), rel=1e-6)
    assert _rdp(2.0, 1.0)[ORDERS.index(2)] == pytest.approx(2 / (2 * 4))


def test_account_is_kept_by_kind() -> None:
    other = Spent(noise_multiplier="2", sample_rate="0.01", steps=1)
    account = add_spent(add_spent(add_spent((), SPENT), other), SPENT)
    assert {(s.noise_multiplier, s.steps) for s in account} == {("1.1", 1600), ("2", 1)}


def ledger(*lines: bytes, old: int = 0) -> LedgerState:
    heads = Heads(*lines)
    head = heads.head()
    proof = merkle.consistency_proof(merkle.tree_of(heads.leaves), old, head.size) if old else []
    return LedgerState(
        head=LedgerHead(size=head.size, root=head.root.hex()),
        consistency=tuple(h.hex() for h in proof),
    )


LEDGERS = {
    "it grew": (ledger(b"a", b"b", b"c", old=2), None),
    "it stayed, though a round was trained": (ledger(b"a", b"b", old=2), "ledger_restarted"),
    "an old copy was restored": (ledger(b"a"), "ledger_restarted"),
    "it began anew and is longer by now": (ledger(b"x", b"y", b"z", old=2), "ledger_restarted"),
    "no proof": (ledger(b"a", b"b", b"c"), "ledger_restarted"),
    "it is gone": (None, "ledger_restarted"),
}


@pytest.mark.parametrize(("stated", "code"), LEDGERS.values(), ids=LEDGERS.keys())
def test_ledger_that_did_not_grow_is_refused(stated, code) -> None:
    _, seen = verify(sign_attestation(statement(noise(ledger=ledger(b"a", b"b"))), SITE))
    assert seen.ledger == ledger(b"a", b"b").head
    second = statement(noise(epsilon_total=TWO, ledger=stated), seen.digest)
    if code is None:
        _, seen = verify(sign_attestation(second, SITE), seen=seen)
        assert seen.ledger == stated.head
    else:
        assert refused(second, seen=seen) == code


def test_round_without_noise_does_not_empty_the_ledger() -> None:
    _, seen = verify(sign_attestation(statement(noise(ledger=ledger(b"a", b"b"))), SITE))
    bare = attestation(HEADS, old=2, previous=seen.digest)
    _, later = verify(sign_attestation(bare, SITE), seen=seen)
    assert later.ledger == seen.ledger
