"""What a verification found sound, so that the next one checks no signature twice.

For each full block of entries one digest over everything in it: entries, tree heads and openings.
An erasure changes the digests of its blocks alone. Keep the file where the site cannot write.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from consent.errors import MalformedError
from consent.keys import VerifierKey

_TITLE = "omote checked log v1"
_LINE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Checked:
    """The tree head that was reached, and a digest of every full block before it."""

    size: int
    root: bytes
    blocks: tuple[bytes, ...]

    def save(self, path: Path, log_key: VerifierKey) -> None:
        """Write the file whole or not at all."""
        lines = [_TITLE, log_key.vkey, str(self.size), self.root.hex()]
        lines += [digest.hex() for digest in self.blocks]
        part = path.with_name(path.name + ".part")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path, log_key: VerifierKey) -> Checked:
        """Read a file that ``save`` wrote.

        Raises:
            MalformedError: Not such a file, or of another log.
        """
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        if lines[:2] != [_TITLE, log_key.vkey]:
            raise MalformedError(f"{path}: expected what was checked of {log_key.name}")
        if len(lines) < 4 or not lines[2].isdecimal() or not all(map(_LINE.fullmatch, lines[3:])):
            raise MalformedError(f"{path}: damaged; delete it, and everything is checked anew")
        root, *digests = (bytes.fromhex(line) for line in lines[3:])
        return cls(int(lines[2]), root, tuple(digests))


def block_digest(
    root: bytes,
    heads: Iterable[tuple[int, str]],
    openings: Sequence[tuple[int, str | None, bytes]],
) -> bytes:
    """Hash all that belongs to a block; every part carries its length, so none can flow over."""
    parts = [b"omote/block/v1\0" + root]
    parts += [b"h%d %d\0%b" % (size, len(n), n) for size, n in ((s, t.encode()) for s, t in heads)]
    names = {owner: b"-" if owner is None else b"+" + owner.encode() for _, owner, _ in openings}
    parts += [
        b"o%d %d %d\0%b%b" % (seq, len(names[owner]), len(body), names[owner], body)
        for seq, owner, body in openings
    ]
    return hashlib.sha256(b"".join(parts)).digest()
