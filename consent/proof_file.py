"""A proof that anyone can check offline: this entry stands in that log (C2SP tlog-proof).

The ``extra`` line is not authenticated by the format; Omote puts nothing there.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from consent import merkle
from consent.errors import MalformedError
from consent.note import decode_base64
from consent.snapshot import LogSnapshot
from consent.trust import Trusted, TrustPolicy

SUFFIX = ".tlog-proof"
MAX_PROOF_BYTES = 1_100_000  # a note and a path
_TITLE = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True)
class TlogProof:
    """Where an entry stands, its path to the root, and the tree head of that root."""

    index: int
    path: tuple[bytes, ...]
    tree_head: str  # signed note, cosigned or not
    extra: bytes | None = None

    def text(self) -> str:
        """The file."""
        lines = [_TITLE]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(value).decode() for value in self.path]
        return "\n".join(lines) + "\n\n" + self.tree_head

    def check(self, entry: bytes, policy: TrustPolicy) -> Trusted:
        """Check that ``entry`` stands at ``index`` in a log that ``policy`` trusts.

        Raises:
            MalformedError: The tree head is not one.
            BadSignatureError: It is not signed, or not cosigned, as the policy asks.
            ProofError: The entry is not there.
        """
        trusted = policy.check(self.tree_head)
        leaf = merkle.leaf_hash(entry)
        merkle.verify_inclusion(leaf, self.index, trusted.head.size, self.path, trusted.head.root)
        return trusted


def make_proof(snapshot: LogSnapshot, index: int) -> TlogProof:
    """Prove entry ``index`` against the tree head of a snapshot.

    Raises:
        ValueError: The snapshot has no such entry.
    """
    return TlogProof(index, tuple(snapshot.inclusion_proof(index)), snapshot.tree_head)


def parse_proof(text: str) -> TlogProof:
    """Read a proof.

    Raises:
        MalformedError: Not a proof.
    """
    if len(text) > MAX_PROOF_BYTES:
        raise MalformedError("proof is too long")
    top, separator, note = text.partition("\n\n")
    lines = top.split("\n")
    if not separator or lines.pop(0) != _TITLE:
        raise MalformedError(f"expected a proof that begins with {_TITLE}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
    match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if match is None:
        raise MalformedError("expected a line with the index")
    path = tuple(decode_base64(line) for line in lines)
    if len(path) > 63 or any(len(value) != 32 for value in path):
        raise MalformedError("expected at most 63 hashes of 32 bytes")
    return TlogProof(int(match[1]), path, note, extra)
