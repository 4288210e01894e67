"""What a site keeps of each update it signed, so that its own auditor can recompute the manifest.

The attestation holds one hash over the data used. Without the salt nobody can tell what is in it;
the salt and the hashes of the recordings stay here, in a file that only its owner can read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from consent.attestation import Attestation, attestation_digest
from consent.kept import KeptLeaf, KeptManifest, read_kept
from consent.manifest import Leaf


def keep_manifest(
    folder: Path, attestation: Attestation, salt: bytes, leaves: Sequence[Leaf]
) -> None:
    """Append one line to ``manifests.jsonl`` of the run and see it on the disk.

    Args:
        folder: The site's state.
        attestation: What was signed.
        salt: Of the manifest.
        leaves: What the manifest is over.
    """
    kept = KeptManifest(
        attestation=attestation_digest(attestation),
        run_id=attestation.run_id,
        round=attestation.round,
        purpose=attestation.purpose,
        manifest=attestation.manifest,
        salt=salt.hex(),
        leaves=tuple(
            KeptLeaf(asset=leaf.asset.hex(), entries=leaf.entries, frames=leaf.frames)
            for leaf in sorted(leaves, key=lambda leaf: leaf.hash(salt))
        ),
    )
    path = _path(folder, attestation.run_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "ab") as f:
        f.write(kept.line())
        f.flush()
        os.fsync(f.fileno())


def signed_in(folder: Path, run_id: str) -> frozenset[str]:
    """Return the digests of the attestations that this site signed in a run."""
    return frozenset(kept.attestation for kept in read_kept(_path(folder, run_id)))


def leaves_of(folder: Path, run_id: str, attestation: str) -> tuple[Leaf, ...] | None:
    """Return what an attestation's manifest is over; None if it is not kept here."""
    for kept in read_kept(_path(folder, run_id)):
        if kept.attestation == attestation:
            return kept.opened()
    return None


def _path(folder: Path, run_id: str) -> Path:
    return folder / run_id / "manifests.jsonl"
