"""What data went into an update, as one hash: an auditor at the site can recompute it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from consent import merkle


def manifest_root(assets: Iterable[tuple[bytes, int]], salt: bytes) -> bytes:
    """Return the Merkle root over the assets used.

    Args:
        assets: SHA-256 of each asset and the index of the log entry that allows its use. The order
            does not matter.
        salt: Secret of the site for this update: without it no asset can be guessed.
    """
    leaves = sorted(
        merkle.leaf_hash(
            b"omote/manifest/v1\0"
            + hashlib.sha256(salt + asset).digest()
            + index.to_bytes(8, "big")
        )
        for asset, index in assets
    )
    return merkle.root(merkle.tree_of(leaves), len(leaves))
