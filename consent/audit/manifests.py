"""Recompute a manifest from what the site kept, and say how it differs from what was signed."""

from __future__ import annotations

from collections.abc import Iterable

from consent.attestation import Attestation
from consent.kept import KeptManifest
from consent.manifest import manifest_root


def recompute(kept: KeptManifest, signed: Attestation, entries: Iterable[int]) -> list[str]:
    """Return what differs; nothing if what was kept is what was signed.

    Args:
        kept: What the site kept of the update.
        signed: What it signed.
        entries: The consent entries that the log says the round relied on.
    """
    leaves, salt = kept.opened(), bytes.fromhex(kept.salt)
    faults = []
    if (kept.run_id, kept.round, kept.purpose) != (signed.run_id, signed.round, signed.purpose):
        faults.append("the kept manifest is of another round or purpose")
    hashes = [leaf.hash(salt) for leaf in leaves]
    if hashes != sorted(hashes):
        faults.append("the leaves of the kept manifest are not in order")
    if not leaves or len({leaf.asset for leaf in leaves}) != len(leaves):
        faults.append("a recording stands twice in the kept manifest, or there is none")
    elif manifest_root(leaves, salt).hex() != signed.manifest:
        faults.append(
            f"the manifest recomputed over {len(leaves)} recordings is not the one that was signed"
        )
    if signed.counts is not None and signed.counts.recordings != len(leaves):
        faults.append(
            f"it says {signed.counts.recordings} recordings; the kept manifest has {len(leaves)}"
        )
    if {e for leaf in leaves for e in leaf.entries} != set(entries):
        faults.append("the log names other consent entries than the kept manifest")
    return faults
