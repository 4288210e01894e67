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
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_HASHES = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
]
CA85 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
OEBC = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


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


REFERENCE = [merkle.leaf_hash(bytes.fromhex(x)) for x in LEAVES]


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size) -> None:
    assert merkle.root(merkle.tree_of(REFERENCE[:size]), size).hex() == ROOTS[size]
    edge = merkle.Frontier()
    for leaf in REFERENCE[:size]:
        edge.add(leaf)
    assert edge.root().hex() == ROOTS[size]


def test_reference_hashes_and_proofs() -> None:
    assert [leaf.hex() for leaf in REFERENCE] == LEAF_HASHES
    hashed = (merkle.leaf_hash(b"L123456"), merkle.node_hash(b"N123", b"N456"))
    assert [h.hex() for h in hashed] == [
        "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56",
        "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb",
    ]
    node = merkle.tree_of(REFERENCE)
    path = [h.hex() for h in merkle.inclusion_proof(node, 5, 8)]
    assert path == [LEAF_HASHES[4], CA85, ROOTS[4]]
    proof = [h.hex() for h in merkle.consistency_proof(node, 6, 8)]
    assert proof == [OEBC, CA85, ROOTS[4]]


@given(st.integers(0, 300), st.integers(0, 300), st.data())
def test_a_frontier_grows_as_the_tree_does(start, more, data) -> None:
    """Read at any size, and grown leaf by leaf or in large pieces, it has the tree's root."""
    leaves = [merkle.leaf_hash(b"%d" % i) for i in range(start + more)]
    node = merkle.tree_of(leaves)
    one = merkle.Frontier.of(node, start)
    done = [place for leaf in leaves[start:] for place in one.add(leaf)]
    assert one.root() == merkle.root(node, start + more)
    assert all(node(level, at) == value for level, at, value in done)
    level = data.draw(st.integers(0, (start & -start).bit_length() - 1 if start else 8))
    part = leaves[start : start + (1 << level)]
    two = merkle.Frontier.of(node, start)
    merkle.extend(two, merkle.levels_of(part), len(part))
    assert two.root() == merkle.root(node, start + len(part))


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


@given(st.data())
def test_an_inclusion_proof_of_another_place_or_size_fails(data) -> None:
    size = data.draw(st.integers(2, 70))
    index, claimed = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 80))
    node = tree(size)
    path, root = merkle.inclusion_proof(node, index, size), merkle.root(node, size)
    if claimed != index:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(node(0, index), claimed, size, path, root)
    at = data.draw(st.integers(0, len(path) - 1))
    before, after = path[:at], path[at + 1 :]
    lies = [path[:-1], [*path, path[-1]], [*before, merkle.EMPTY_ROOT, *after],
            [*before, path[at][:31], *after], [*before, path[at] + b"x", *after]]  # fmt: skip
    for lie in lies:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(node(0, index), index, size, lie, root)
    inner = merkle.inclusion_proof(node, 0, size)[1:]
    with pytest.raises(ProofError):  # an inner node is no leaf
        merkle.verify_inclusion(node(1, 0), 0, size, inner, root)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
def test_a_consistency_proof_is_of_two_heads_alone(old, new, other) -> None:
    old, new = min(old, new), max(old, new)
    node = tree(70)
    proof = merkle.consistency_proof(node, old, new)
    roots = {n: merkle.root(node, n) for n in (old, new, other)}
    for one, two in ((old, other), (other, new)):
        if (one, two) != (old, new):
            with pytest.raises(ProofError):
                merkle.verify_consistency(one, two, roots[one], roots[two], proof)


def test_nothing_can_be_proven_from_an_empty_tree() -> None:
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, merkle.root(tree(1), 1), [])
