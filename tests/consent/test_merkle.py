import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.errors import ProofError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "merkle-vectors.json").read_text())
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
          "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def decoded(text):
    return base64.b64decode(text) if text else b""


def names(kind):
    return [v["name"] for v in VECTORS[kind]]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=names("inclusion"))
def test_inclusion_vectors(vector) -> None:
    check = lambda: merkle.verify_inclusion(  # noqa: E731
        decoded(vector["leafHash"]), vector["leafIdx"], vector["treeSize"],
        [decoded(p) for p in vector["proof"] or []], decoded(vector["root"]),
    )  # fmt: skip
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            check()
    else:
        check()


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=names("consistency"))
def test_consistency_vectors(vector) -> None:
    check = lambda: merkle.verify_consistency(  # noqa: E731
        vector["size1"], vector["size2"], decoded(vector["root1"]), decoded(vector["root2"]),
        [decoded(p) for p in vector["proof"] or []],
    )  # fmt: skip
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            check()
    else:
        check()


@pytest.mark.parametrize("size", ROOTS)
def test_reference_roots(size) -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(x)) for x in LEAVES[:size]]
    assert merkle.root(merkle.tree_of(leaves), size).hex() == ROOTS[size]


def tree(size, salt=b""):
    return merkle.tree_of([merkle.leaf_hash(salt + bytes([i])) for i in range(size)])


@given(st.data())
def test_true_proofs_hold_and_lies_fail(data) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(1, new))
    index = data.draw(st.integers(0, new - 1))
    node, other = tree(new), tree(new, b"other")
    root_old, root_new = merkle.root(node, old), merkle.root(node, new)

    path = merkle.inclusion_proof(node, index, new)
    merkle.verify_inclusion(node(0, index), index, new, path, root_new)
    proof = merkle.consistency_proof(node, old, new)
    merkle.verify_consistency(old, new, root_old, root_new, proof)

    with pytest.raises(ProofError):
        merkle.verify_inclusion(other(0, index), index, new, path, root_new)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, merkle.root(other, old), root_new, proof)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, root_old, merkle.root(other, new), proof)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        bent = [*proof[:at], merkle.EMPTY_ROOT, *proof[at + 1 :]]
        for lie in (proof[:-1], [*proof, proof[-1]], bent):
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, new, root_old, root_new, lie)


def test_nothing_can_be_proven_from_an_empty_tree() -> None:
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, merkle.root(tree(1), 1), [])
