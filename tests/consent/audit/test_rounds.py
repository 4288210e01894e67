"""Adversarial case 19: what a site kept is recomputed, and a lie in it is named."""

import pytest

from consent.kept import KeptLeaf
from consent.manifest import Leaf
from consent.model import Purpose, Role, Span
from consent.site_events import AssetLinked
from tests.consent.audit.site import recording
from tests.consent.conftest import give


@pytest.fixture
def trio(site):
    for name in ("anna", "ben", "cleo"):
        site.add(name)
    return site


def faults(site) -> str:
    return "; ".join(f for c in site.facts().checks for f in c.faults)


def test_honest_rounds_are_recomputed_to_the_person(trio) -> None:
    trio.train(1)
    trio.registry.withdraw(trio.people["ben"])
    trio.train(2)
    first, second = trio.facts().checks
    assert (first.faults, first.missing, first.is_recomputed) == ([], [], True)
    assert set(first.subjects) == set(trio.people.values())
    assert set(second.subjects) == {trio.people["anna"], trio.people["cleo"]}


def change(**changes):
    return lambda kept: kept.model_copy(update=changes)


def extra_leaf(kept):
    more = KeptLeaf(asset="f" * 64, entries=kept.leaves[0].entries)
    return kept.model_copy(update={"leaves": (*kept.leaves, more)})


LIES = {
    "an extra leaf": (extra_leaf, "4 recordings is not the one that was signed"),
    "a leaf less": (
        lambda k: k.model_copy(update={"leaves": k.leaves[1:]}), "2 recordings is not the one"),
    "a recording twice": (
        lambda k: k.model_copy(update={"leaves": (*k.leaves, k.leaves[0])}), "stands twice"),
    "leaves out of order": (
        lambda k: k.model_copy(update={"leaves": k.leaves[::-1]}), "not in order"),
    "another salt": (change(salt="0" * 64), "is not the one that was signed"),
    "another round": (change(round=7), "of another round"),
    "nothing": (change(leaves=()), "stands twice in the kept manifest, or there is none"),
}  # fmt: skip


@pytest.mark.parametrize(("bend", "fault"), LIES.values(), ids=LIES.keys())
def test_kept_manifest_that_is_not_the_signed_one(trio, bend, fault) -> None:
    trio.train(1, kept=bend)
    assert fault in faults(trio)
    assert not trio.facts().checks[0].is_recomputed


def test_count_of_recordings_that_is_not_the_manifests(trio) -> None:
    trio.train(1, signed={"counts": {"recordings": 9, "frames": []}})
    assert "it says 9 recordings; the kept manifest has 3" in faults(trio)


def test_people_stated_who_did_not_take_part(trio) -> None:
    trio.train(1, signed={"min_subjects": 4})
    assert "at least 4 people took part; there were 3" in faults(trio)


def test_recording_of_someone_who_had_withdrawn(trio) -> None:
    leaves = trio.leaves()
    trio.registry.withdraw(trio.people["ben"])
    trio.train(1, leaves=leaves)
    assert "1 recording(s): consent was withdrawn when the round began" in faults(trio)


def test_withdrawal_while_the_round_ran(trio) -> None:
    """Adversarial case 8: the site signs although somebody left meanwhile."""
    start, leaves = trio.registry.snapshot(), trio.leaves()
    trio.registry.withdraw(trio.people["ben"])
    trio.train(1, leaves=leaves, start=start)
    assert faults(trio) == "1 recording(s): consent was withdrawn when the round ended"


def test_sample_of_an_expired_grant(site, clock) -> None:
    from datetime import timedelta

    site.add("anna")
    site.add("ben", expires_at=clock() + timedelta(days=10))
    leaves = site.leaves()
    site.train(1, leaves=leaves)
    clock.tick(days=10)
    site.train(2, leaves=leaves)
    first, second = site.facts().checks
    assert first.faults == []
    assert second.faults == [
        "1 recording(s): consent was expired when the round began",
        "1 recording(s): consent was expired when the round ended",
    ]


def test_consent_to_another_purpose_does_not_count(site) -> None:
    subject_id = site.add("anna", Purpose.PRETRAINING)
    entry = site.registry.state().subjects[subject_id].answers[Purpose.PRETRAINING].index
    site.train(1, leaves=[Leaf(bytes.fromhex(recording("anna")), (entry,), ((1, 10),))])
    assert "consent was never_given when the round began" in faults(site)


def test_somebody_elses_consent_does_not_count(trio) -> None:
    """The recording is Ben's, the entry Anna's: Ben is seen in it and not named."""
    anna, ben, *_ = trio.leaves()
    trio.train(1, leaves=[Leaf(ben.asset, anna.entries, ben.frames)])
    assert "1 recording(s): a face was not covered when the round began" in faults(trio)


def test_consent_that_was_replaced_does_not_count(trio) -> None:
    old = trio.leaves()
    give(trio.registry, trio.people["anna"], trio.notice)
    trio.train(1, leaves=old)
    assert f"entry {old[0].entries[0]} was not the consent in force" in faults(trio)


USED = {
    "frames with one named face": (((1, 3),), True),
    "a frame with a face that nobody named": (((1, 4),), False),
    "a frame of nobody": (((1, 3), (11, 12)), False),
    "all of it": ((), False),
}


@pytest.mark.parametrize(("frames", "is_fine"), USED.values(), ids=USED.keys())
def test_face_that_nobody_named(trio, frames, is_fine) -> None:
    """Adversarial case 10: in frames 4 to 10 somebody walks through the picture."""
    anna = trio.people["anna"]
    spans = (
        Span(first=1, last=3, num_faces=1, subjects=(anna,)),
        Span(first=4, last=10, num_faces=2, subjects=(anna,)),
    )
    trio.registry.append([AssetLinked(asset=recording("anna"), spans=spans)], Role.OPERATOR)
    leaf, *_ = trio.leaves()
    trio.train(1, leaves=[Leaf(leaf.asset, leaf.entries, frames)])
    want = (
        "1 recording(s): a face was not covered when the round began; 1 recording(s): a face "
        "was not covered when the round ended"
    )
    assert faults(trio) == ("" if is_fine else want)


def test_entry_and_attestation_that_differ(trio) -> None:
    trio.train(1, entries=[0])
    assert "the log names other consent entries" in faults(trio)


def test_signature_of_another_key(trio, monkeypatch) -> None:
    from consent.keys import SigningKey
    from tests.consent.audit import site as module

    real, other = module.sign_attestation, SigningKey.generate("site-a/operator")
    monkeypatch.setattr(module, "sign_attestation", lambda a, key: real(a, other))
    trio.train(1)
    assert faults(trio) == "no operator's key of this log signed the attestation"


def test_tree_head_of_another_log(trio, tmp_path, clock) -> None:
    from consent.registry import Registry
    from tests.consent.conftest import key_of

    keys = {role: key_of(role) for role in Role if role is not Role.SUBJECT}
    other = Registry.create(tmp_path / "other", "site-a", clock, keys=keys)
    trio.train(1, start=other.snapshot())
    assert "first 6 entries are not those it names" in faults(trio)


def test_manifest_that_was_lost_is_missing_and_no_fault(trio) -> None:
    trio.train(1, keep=False)
    (check,) = trio.facts().checks
    assert (check.faults, check.is_recomputed) == ([], False)
    assert "was not kept" in check.missing[0]


def test_erased_people_are_still_counted_as_used(trio) -> None:
    trio.train(1)
    trio.registry.erase(trio.people["ben"], "GDPR 17(1)(b)")
    (check,) = trio.facts().checks
    assert (check.faults, check.missing, check.is_recomputed) == ([], [], True)
    assert trio.people["ben"] in check.subjects
