"""What a site keeps of each update it signed. Only its own auditor sees it.

One JSON object a line. The attestation holds a hash over the data; this is what it hashes.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consent.envelope import canonical_json, parse_json
from consent.errors import MalformedError
from consent.manifest import Leaf, Range
from consent.model import Purpose

_SHA256 = "^[0-9a-f]{64}$"


class KeptLeaf(BaseModel):
    """A recording, the log entries that allowed its use, and the frames that were used."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    asset: str = Field(pattern=_SHA256)
    entries: tuple[int, ...] = Field(min_length=1)
    frames: tuple[Range, ...] = ()  # none: all of them


class KeptManifest(BaseModel):
    """The manifest of one update, opened."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    v: int = Field(1, ge=1, le=1)
    attestation: str = Field(pattern=_SHA256)  # digest of the signed statement
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    manifest: str = Field(pattern=_SHA256)  # root, as signed
    salt: str = Field(pattern=_SHA256)
    leaves: tuple[KeptLeaf, ...]

    def opened(self) -> tuple[Leaf, ...]:
        """Return the leaves as they are hashed, in the order that the file has."""
        return tuple(Leaf(bytes.fromhex(k.asset), k.entries, k.frames) for k in self.leaves)

    def line(self) -> bytes:
        """Return the line of the file."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def read_kept(path: Path) -> list[KeptManifest]:
    """Read the manifests of a run; none if there is no file.

    Raises:
        MalformedError: A line is not one; it is named.
    """
    if not path.exists():
        return []
    kept = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            kept.append(KeptManifest.model_validate(parse_json(line)))
        except (MalformedError, ValidationError) as e:
            raise MalformedError(f"{path}: line {number} is not a kept manifest") from e
    return kept
