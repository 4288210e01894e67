"""The Merkle tree of RFC 9162, section 2.1: hashes, proofs, and checks that raise.

A tree is given as a function ``node(level, index)`` that returns the hash of a full subtree of
``2**level`` leaves, so that a proof reads a few stored hashes and never the whole log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from consent.errors import ProofError

Node = Callable[[int, int], bytes]
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Hash many entries."""
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a tree: all that is needed to add leaves, one hash for each bit of size."""

    def __init__(self, size: int = 0, edge: Iterable[bytes] = ()) -> None:
        self.size = size
        self._edge = list(edge)  # from the largest full subtree to the smallest

    @classmethod
    def of(cls, node: Node, size: int) -> Frontier:
        """Read the right edge of the first ``size`` leaves."""
        levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
        return cls(size, [node(level, (size >> level) - 1) for level in levels])

    def add(self, value: bytes, level: int = 0) -> list[tuple[int, int, bytes]]:
        """Add a leaf, or a full subtree where the tree ends at a multiple of its size.

        Returns:
            It and the full subtrees that it completes, as (level, index, hash).
        """
        assert self.size % (1 << level) == 0
        at = self.size >> level
        self.size += 1 << level
        done = [(level, at, value)]
        while at & 1:
            value = node_hash(self._edge.pop(), value)
            level, at = level + 1, at >> 1
            done.append((level, at, value))
        self._edge.append(value)
        return done

    def copy(self) -> Frontier:
        """Return another one that grows on its own."""
        return Frontier(self.size, self._edge)

    def root(self) -> bytes:
        """Return the root."""
        if not self._edge:
            return EMPTY_ROOT
        value = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            value = node_hash(left, value)
        return value


def root(node: Node, size: int) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return _range(node, 0, size)


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """Return the path from leaf ``index`` to the root of ``size`` leaves (section 2.1.3.1).

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"expected an index below {size}, got {index}")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(node, middle, high))
            high = middle
        else:
            path.append(_range(node, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """Return the proof that the first ``old`` of ``new`` leaves are unchanged (section 2.1.4.1).

    Raises:
        ValueError: The sizes are not 0 < old <= new.
    """
    if not 0 < old <= new:
        raise ValueError(f"expected 0 < old <= new, got {old} and {new}")
    path, low, high, whole = [], 0, new, True
    while old != high - low:
        middle = _split(high - low)
        if old <= middle:
            path.append(_range(node, low + middle, high))
            high = low + middle
        else:
            path.append(_range(node, low, low + middle))
            low, old, whole = low + middle, old - middle, False
    if not whole:
        path.append(_range(node, low, high))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof (section 2.1.3.2).

    Raises:
        ProofError: It does not prove that ``leaf`` is at ``index`` under ``root``.
    """
    if not 0 <= index < size or any(len(h) != 32 for h in (leaf, root, *proof)):
        raise ProofError("malformed inclusion proof")
    fn, sn, value = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise ProofError("inclusion proof is too long")
        if fn & 1 or fn == sn:
            value = node_hash(sibling, value)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = node_hash(value, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or value != root:
        raise ProofError("inclusion proof does not lead to the root")


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check a consistency proof (section 2.1.4.2).

    From an empty tree there is nothing to prove: the caller decides about a first contact.

    Raises:
        ProofError: It does not prove that the tree of ``new`` leaves extends that of ``old``.
    """
    if not 0 < old <= new or any(len(h) != 32 for h in proof):
        raise ProofError("malformed consistency proof")
    if old == new:
        if proof or old_root != new_root:
            raise ProofError("two roots of one size")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path or not proof:
        raise ProofError("consistency proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise ProofError("consistency proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or first != old_root or second != new_root:
        raise ProofError("consistency proof does not lead to both roots")


def levels_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all full subtrees of some leaves, level by level, the leaves first."""
    sha256, levels = hashlib.sha256, [list(leaves)]
    while len(levels[-1]) > 1:
        below = iter(levels[-1])
        # node_hash, without a call for each: this is where a verification spends its time
        pairs = zip(below, below, strict=False)
        levels.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return levels


def extend(edge: Frontier, levels: list[list[bytes]], num: int) -> list[tuple[int, int, bytes]]:
    """Add the first ``num`` leaves of ``levels``, in large pieces; return what ``add`` returns."""
    done = []
    for level in reversed(range(num.bit_length())):
        if num >> level & 1:
            done += edge.add(levels[level][(num >> level) - 1], level)
    return done


def tree_of(leaves: Sequence[bytes]) -> Node:
    """Return the node function of leaf hashes in memory. For manifests and tests."""
    levels = levels_of(leaves)
    return lambda level, index: levels[level][index]


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _range(node: Node, low: int, high: int) -> bytes:
    """Hash the leaves from ``low`` to ``high``, a range of the tree's own decomposition."""
    size = high - low
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        return node(size.bit_length() - 1, low // size)
    middle = low + _split(size)
    return node_hash(_range(node, low, middle), _range(node, middle, high))
