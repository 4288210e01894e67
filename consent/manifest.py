"""What data went into an update, as one hash: an auditor at the site can recompute it.

Every recording has a salt of its own, so that one can be shown to be in a manifest, to the person
in it or to a court, without opening a door to guess the others.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent import merkle
from consent.errors import ProofError

Range = tuple[int, int]


@dataclass(frozen=True)
class Leaf:
    """One recording, and the log entries that allow its use: one for each person in it."""

    asset: bytes  # SHA-256 of the recording
    entries: tuple[int, ...]
    frames: tuple[Range, ...] = ()  # those used, first and last included; none: all of them

    def hash(self, salt: bytes) -> bytes:
        """Return the leaf's hash in the tree; ``salt`` is the manifest's."""
        return leaf_hash(self, leaf_salt(salt, self.asset))


@dataclass(frozen=True)
class LeafProof:
    """That one recording is in a manifest. Tells nothing about the others."""

    leaf: Leaf
    salt: bytes  # of this leaf
    index: int
    size: int
    path: tuple[bytes, ...]

    def check(self, root: bytes) -> None:
        """Check the proof against a signed manifest.

        Raises:
            ProofError: The recording is not in it, or not with these entries.
        """
        hashed = leaf_hash(self.leaf, self.salt)
        merkle.verify_inclusion(hashed, self.index, self.size, self.path, root)


def leaf_salt(salt: bytes, asset: bytes) -> bytes:
    """Return the salt of one leaf. The manifest's own salt cannot be told from it."""
    return hmac.digest(salt, b"omote/manifest/leaf-salt/v1\0" + asset, "sha256")


def leaf_hash(leaf: Leaf, salt: bytes) -> bytes:
    """Return the hash of a leaf with its own salt."""
    numbers = [len(leaf.entries), *leaf.entries, *(end for span in leaf.frames for end in span)]
    hidden = hashlib.sha256(salt + leaf.asset).digest()
    packed = b"".join(number.to_bytes(8, "big") for number in numbers)
    return merkle.leaf_hash(b"omote/manifest/v1\0" + hidden + packed)


def manifest_root(leaves: Iterable[Leaf], salt: bytes) -> bytes:
    """Return the Merkle root over the recordings used. The order given does not matter.

    Args:
        leaves: The recordings.
        salt: Secret of the site for this update: without it no recording can be guessed.

    Raises:
        ValueError: There is none, or one is there twice.
    """
    return _root(sorted_hashes(leaves, salt))


def prove_leaf(leaves: Sequence[Leaf], salt: bytes, asset: bytes) -> LeafProof:
    """Prove that one recording is in a manifest.

    Raises:
        ProofError: It is not.
    """
    leaf = next((leaf for leaf in leaves if leaf.asset == asset), None)
    if leaf is None:
        raise ProofError("this recording is not in the manifest")
    hashes = sorted_hashes(leaves, salt)
    at = hashes.index(leaf.hash(salt))
    path = merkle.inclusion_proof(merkle.tree_of(hashes), at, len(hashes))
    return LeafProof(leaf, leaf_salt(salt, asset), at, len(hashes), tuple(path))


def sorted_hashes(leaves: Iterable[Leaf], salt: bytes) -> list[bytes]:
    """Return the hashes of the leaves in the one order that a manifest has.

    Raises:
        ValueError: There is none, or a recording is there twice.
    """
    leaves = tuple(leaves)
    if not leaves or len({leaf.asset for leaf in leaves}) != len(leaves):
        raise ValueError("a manifest holds one or more recordings, each once")
    return sorted(leaf.hash(salt) for leaf in leaves)


def _root(hashes: Sequence[bytes]) -> bytes:
    return merkle.root(merkle.tree_of(hashes), len(hashes))
