"""Which software runs here: a name and a digest of the installed source files.

A site states it in every attestation, and a server can demand the one that was agreed. A site that
lies about its software is not found out this way.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from consent.attestation import Code

PACKAGES = ("consent", "core_model", "fl_client")
ENDINGS = {".py", ".toml"}


@cache
def installed_code() -> Code:
    """Return the name, version and digest of what is installed."""
    return Code(name=f"omote {version('omote')}", sha256=source_digest(PACKAGES))


def source_digest(packages: tuple[str, ...]) -> str:
    """Return SHA-256 over the names and bytes of all source files of some packages."""
    h = hashlib.sha256()
    for package in packages:
        root = Path(str(files(package)))
        found = (p for p in root.rglob("*") if p.suffix in ENDINGS)
        for name, path in sorted((f"{package}/{p.relative_to(root).as_posix()}", p) for p in found):
            h.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()
