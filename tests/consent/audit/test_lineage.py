"""Question 6 has three answers: used, not used, cannot be determined. Never removed."""

import pytest

from consent.audit.lineage import Used, lineage_of, was_admitted, was_used
from consent.errors import RecordError

MODEL, CHILD = "a" * 64, "b" * 64


@pytest.fixture
def trio(site):
    for name in ("anna", "ben"):
        site.add(name)
    site.train(1)
    site.registry.withdraw(site.people["ben"])
    site.add("cleo")
    site.train(2)
    site.publish(MODEL, (1, 2))
    return site


def answer(site, name, model=MODEL):
    facts = site.facts()
    subject_id = site.people.get(name, name)
    known = subject_id in facts.state.subjects
    return was_used(lineage_of(facts.state, model), facts.checks, subject_id, is_known=known)


def test_used_comes_with_a_proof_for_each_recording(trio) -> None:
    got = answer(trio, "ben")
    assert (got.used, got.why) == (Used.YES, "in the updates that this site signed for run-1/1")
    (use,) = got.uses
    (proof,) = use.proofs
    proof.check(bytes.fromhex(use.check.item.event.manifest))
    assert use.was_admitted is True


def test_not_used_when_every_manifest_was_recomputed(trio) -> None:
    trio.add("dora")
    assert answer(trio, "dora").used is Used.NO


def test_not_used_in_a_model_from_before(trio) -> None:
    trio.publish(CHILD, (1,))
    assert answer(trio, "cleo", CHILD).used is Used.NO
    assert answer(trio, "cleo", MODEL).used is Used.YES


def test_a_descendant_inherits(trio) -> None:
    trio.publish(CHILD, (), run="run-2", parents=(MODEL,))
    assert answer(trio, "ben", CHILD).used is Used.YES


UNKNOWN = "cannot be determined"


def test_cannot_be_determined_when_a_manifest_was_lost(trio) -> None:
    trio.train(3, keep=False)
    trio.publish(CHILD, (1, 2, 3))
    trio.add("dora")
    got = answer(trio, "dora", CHILD)
    assert (got.used, got.why) == (Used.UNKNOWN, "what was used cannot be recomputed for run-1/3")
    assert answer(trio, "ben", CHILD).used is Used.YES  # proven by another round


def test_cannot_be_determined_when_an_ancestor_is_unknown(trio) -> None:
    trio.publish(CHILD, (1, 2), parents=("c" * 64,))
    trio.add("dora")
    assert answer(trio, "dora", CHILD).used is Used.UNKNOWN
    assert answer(trio, "anna", CHILD).used is Used.YES


def test_cannot_be_determined_for_someone_the_log_does_not_know(trio) -> None:
    assert answer(trio, "nobody").used is Used.UNKNOWN


def test_erased_is_still_used(trio) -> None:
    trio.registry.erase(trio.people["ben"], "GDPR 17(1)(b)")
    assert answer(trio, "ben").used is Used.YES


def test_update_that_the_server_left_out_is_not_in_the_model(site) -> None:
    """The third attestation names the first as the one admitted last: the second was left out."""
    site.add("anna")
    site.train(1)
    site.add("ben")
    site.train(2, admitted=False)
    site.registry.withdraw(site.people["ben"])
    site.train(3)
    site.publish(MODEL, (1, 2, 3))
    checks = site.facts().checks
    assert [was_admitted(c, checks) for c in checks] == [True, False, None]
    got = answer(site, "ben")
    assert got.used is Used.NO
    assert [u.was_admitted for u in got.uses] == [False]


def test_model_between_rounds_is_found_by_what_a_round_began_from(trio) -> None:
    began = f"{2:064x}"  # of round 2
    assert lineage_of(trio.facts().state, began).rounds == {("run-1", 1)}
    assert answer(trio, "ben", began).used is Used.YES
    assert answer(trio, "cleo", began).used is Used.UNKNOWN


def test_all_rounds_before_are_taken_in_whatever_is_declared(trio) -> None:
    trio.publish(CHILD, (2,))
    assert lineage_of(trio.facts().state, CHILD).rounds == {("run-1", 1), ("run-1", 2)}


def test_a_model_that_nobody_named(trio) -> None:
    with pytest.raises(RecordError, match="names no model"):
        lineage_of(trio.facts().state, "d" * 64)


def test_no_answer_says_removed(trio) -> None:
    from pathlib import Path

    import consent.audit

    for path in Path(consent.audit.__file__).parent.rglob("*"):
        if path.suffix in {".py", ".html"}:
            assert "removed" not in path.read_text().replace("Never 'removed'", "")
