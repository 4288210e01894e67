"""Signed tree heads: C2SP notes that hold a log's name, size and root (C2SP tlog-checkpoint).

Never called a checkpoint here: that word is for model weights.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from consent.errors import BadSignatureError, MalformedError
from consent.keys import SigningKey, VerifierKey

MAX_NOTE_BYTES = 100_000
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class TreeHead:
    """Name of a log, number of its entries and root of its Merkle tree."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_tree_head(head: TreeHead, key: SigningKey) -> str:
    """Return the signed note of ``head``."""
    text = head.text()
    signature = base64.b64encode(key.verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n— {key.name} {signature}\n"


def open_note(note: str, key: VerifierKey) -> str:
    """Return the text of a note after its signature by ``key`` was checked.

    Signatures by other keys are ignored, as C2SP signed-note asks.

    Raises:
        MalformedError: The note is not a signed note.
        BadSignatureError: It is not signed by ``key``, or the signature is wrong.
    """
    if len(note) > MAX_NOTE_BYTES or any(ord(c) < 0x20 and c != "\n" for c in note):
        raise MalformedError("note is too long or holds control characters")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise MalformedError("note has no signature lines")
    checked = False
    for line in signatures.removesuffix("\n").split("\n"):
        name, signature = _signature(line)
        if name == key.name and signature[:4] == key.key_id:
            key.check((text + "\n").encode(), signature[4:])
            checked = True
    if not checked:
        raise BadSignatureError(f"note is not signed by {key.name}")
    return text + "\n"


def open_tree_head(note: str, key: VerifierKey) -> TreeHead:
    """Return a tree head after its signature was checked.

    Raises:
        MalformedError: The note does not hold a tree head of the log that ``key`` is named after.
        BadSignatureError: It is not signed by ``key``.
    """
    lines = open_note(note, key).split("\n")
    if len(lines) != 4 or lines[3] or not re.fullmatch("0|[1-9][0-9]{0,17}", lines[1]):
        raise MalformedError("expected the three lines of a tree head")
    root = _decode(lines[2])
    if lines[0] != key.name or len(root) != 32:
        raise MalformedError(f"expected a tree head of {key.name}")
    return TreeHead(lines[0], int(lines[1]), root)


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise MalformedError("malformed signature line")
    raw = _decode(match[2])
    if len(raw) < 5:
        raise MalformedError("signature is too short")
    return match[1], raw


def _decode(text: str) -> bytes:
    """Decode base64 in its one canonical form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise MalformedError("not base64") from e
    if base64.b64encode(raw).decode() != text:
        raise MalformedError("not canonical base64")
    return raw
