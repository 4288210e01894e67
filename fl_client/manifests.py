"""What a site keeps of each update it signed, so that its own auditor can recompute the manifest.

The attestation holds one hash over the data used. Without the salt nobody can tell what is in it;
the salt and the hashes of the recordings stay here, in a file that only its owner can read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from consent.attestation import Attestation


def keep_manifest(
    folder: Path, attestation: Attestation, salt: bytes, assets: Iterable[tuple[bytes, int]]
) -> None:
    """Append one line to ``manifests.jsonl`` of the run and see it on the disk.

    Args:
        folder: The site's state.
        attestation: What was signed.
        salt: Of the manifest.
        assets: Hash of each recording used, and the log entry that allowed it.
    """
    line = {
        "round": attestation.round,
        "purpose": attestation.purpose.value,
        "nonce": attestation.nonce,
        "update": attestation.update,
        "manifest": attestation.manifest,
        "salt": salt.hex(),
        "assets": [[asset.hex(), entry] for asset, entry in assets],
    }
    path = folder / attestation.run_id / "manifests.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as f:
        f.write(json.dumps(line) + "\n")
        f.flush()
        os.fsync(f.fileno())
