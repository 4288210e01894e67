"""Adversarial case 19, the hashes: what an auditor recomputes is what was signed, or differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.errors import MalformedError, ProofError
from consent.kept import KeptLeaf, KeptManifest, read_kept
from consent.manifest import Leaf, leaf_salt, manifest_root, prove_leaf, sorted_hashes
from consent.model import Purpose

SALT = b"s" * 32
LEAVES = [Leaf(bytes([i]) * 32, (i, i + 10)) for i in range(5)]
ROOT = manifest_root(LEAVES, SALT)

LIES = {
    "an extra leaf": [*LEAVES, Leaf(b"x" * 32, (3,))],
    "a leaf less": LEAVES[:-1],
    "another recording": [*LEAVES[:-1], Leaf(b"x" * 32, LEAVES[-1].entries)],
    "another consent entry": [*LEAVES[:-1], Leaf(LEAVES[-1].asset, (99,))],
    "other frames": [*LEAVES[:-1], Leaf(LEAVES[-1].asset, LEAVES[-1].entries, ((1, 3),))],
    "one person of two": [*LEAVES[:-1], Leaf(LEAVES[-1].asset, LEAVES[-1].entries[:1])],
}


def test_manifest_is_salted_and_free_of_order() -> None:
    assert manifest_root(LEAVES[::-1], SALT) == ROOT
    assert manifest_root(LEAVES, b"t" * 32) != ROOT


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_other_data_has_another_root(lie) -> None:
    assert manifest_root(lie, SALT) != ROOT


@pytest.mark.parametrize(
    "leaves", [[], [*LEAVES, LEAVES[0]], [*LEAVES, Leaf(LEAVES[0].asset, (7,))]]
)
def test_a_manifest_holds_each_recording_once(leaves) -> None:
    with pytest.raises(ValueError, match="each once"):
        manifest_root(leaves, SALT)


def test_leaves_that_are_not_sorted_have_another_root() -> None:
    hashes = sorted_hashes(LEAVES, SALT)
    assert merkle.root(merkle.tree_of(hashes), 5) == ROOT
    assert merkle.root(merkle.tree_of(hashes[::-1]), 5) != ROOT


@given(st.integers(0, 4), st.integers(0, 4))
def test_one_recording_is_proven_without_the_salt_of_the_others(at, other) -> None:
    proof = prove_leaf(LEAVES, SALT, LEAVES[at].asset)
    proof.check(ROOT)
    assert proof.salt == leaf_salt(SALT, LEAVES[at].asset) != SALT
    with pytest.raises(ProofError):
        proof.check(manifest_root(LIES["an extra leaf"], SALT))
    if other != at:
        bent = type(proof)(LEAVES[other], proof.salt, proof.index, proof.size, proof.path)
        with pytest.raises(ProofError):
            bent.check(ROOT)


def test_a_recording_that_is_not_there_cannot_be_proven() -> None:
    with pytest.raises(ProofError):
        prove_leaf(LEAVES, SALT, b"x" * 32)


def test_kept_manifests_come_back_from_the_file(tmp_path) -> None:
    kept = KeptManifest(
        attestation="a" * 64, run_id="run", round=1, purpose=Purpose.FINETUNING,
        manifest=ROOT.hex(), salt=SALT.hex(),
        leaves=tuple(KeptLeaf(asset=leaf.asset.hex(), entries=leaf.entries) for leaf in LEAVES),
    )  # fmt: skip
    path = tmp_path / "manifests.jsonl"
    assert read_kept(path) == []
    path.write_bytes(kept.line() * 2)
    assert read_kept(path) == [kept, kept]
    assert manifest_root(kept.opened(), SALT) == ROOT
    path.write_bytes(kept.line() + b"{}\n")
    with pytest.raises(MalformedError, match="line 2"):
        read_kept(path)
