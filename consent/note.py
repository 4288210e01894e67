"""Signed tree heads: C2SP notes that hold a log's name, size and root (C2SP tlog-checkpoint).

Never called a checkpoint here: that word is for model weights.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consent.errors import BadSignatureError, MalformedError
from consent.keys import SigningKey, VerifierKey

MAX_NOTE_BYTES = 1_000_000  # as in Go's sumdb/note, and so for the number of signatures
MAX_SIGNATURES = 100
MAX_SIZE = 2**63 - 1
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

Check = Callable[[str, bytes], None]  # (text of the note, signature without its key id) or raises


@dataclass(frozen=True)
class TreeHead:
    """Name of a log, number of its entries and root of its Merkle tree."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_tree_head(head: TreeHead, *keys: SigningKey) -> str:
    """Return the note of ``head`` with a signature by each key; two while a log changes its key."""
    text = head.text()
    lines = [
        signature_line(key.name, key.verifier.key_id + key.sign(text.encode())) for key in keys
    ]
    return f"{text}\n{''.join(lines)}"


def signature_line(name: str, signature: bytes) -> str:
    """Return one line of a note; ``signature`` begins with the key id."""
    return f"— {name} {base64.b64encode(signature).decode()}\n"


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the text of a note and its signatures as (name, key id and signature), unchecked.

    Raises:
        MalformedError: Not a signed note.
    """
    # Text and signatures are parted by the last empty line: C2SP signed-note, "Format".
    text, separator, signatures = note.rpartition("\n\n")
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES or re.search(
        r"[\x00-\x09\x0b-\x1f]", note
    ):
        raise MalformedError("note is too long or holds control characters")
    if not separator or not signatures.endswith("\n"):
        raise MalformedError("note has no signature lines")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(f"note has more than {MAX_SIGNATURES} signatures")
    return text + "\n", [_signature(line) for line in lines]


def check_signatures(note: str, checks: Mapping[tuple[str, bytes], Check]) -> str:
    """Return the text of a note after the signatures of known keys were checked.

    Unknown keys are ignored and one bad signature by a known key spoils the note, as C2SP
    signed-note asks. Of several signatures by one key, the first counts.

    Args:
        note: The note.
        checks: For (name, key id) of each known key, what checks its signature.

    Raises:
        MalformedError: Not a signed note.
        BadSignatureError: No known key signed it, or a signature by one is wrong.
    """
    text, signatures = split_note(note)
    checked = set()
    for name, raw in signatures:
        key = (name, raw[:4])
        if key in checks and key not in checked:
            checks[key](text, raw[4:])
            checked.add(key)
    if not checked:
        names = ", ".join(sorted({name for name, _ in checks}))
        raise BadSignatureError(f"note is not signed by {names}")
    return text


def open_note(note: str, *keys: VerifierKey) -> str:
    """Return the text of a note that at least one of ``keys`` signed, and none of them wrongly.

    Raises:
        MalformedError: Not a signed note.
        BadSignatureError: None of the keys signed it, or a signature by one is wrong.
    """
    return check_signatures(note, {(key.name, key.key_id): _check_by(key) for key in keys})


def open_tree_head(note: str, *keys: VerifierKey) -> TreeHead:
    """Return a tree head after its signature was checked.

    Args:
        note: The note.
        keys: The log's key, or its keys if it changed them; the log is named as its keys are.

    Raises:
        MalformedError: The note does not hold a tree head of the log that the keys are named after.
        BadSignatureError: None of the keys signed it, or a signature by one is wrong.
    """
    if not keys:
        raise BadSignatureError("no key may sign this tree head")
    head = parse_tree_head(open_note(note, *keys))
    if {head.origin} != {key.name for key in keys}:
        raise MalformedError(f"expected a tree head of {keys[0].name}")
    return head


def parse_tree_head(text: str) -> TreeHead:
    """Read the text of a tree head, whose signature is the caller's concern.

    Raises:
        MalformedError: Not the three lines of a tree head.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise MalformedError("expected the three lines of a tree head")
    head = TreeHead(lines[0], int(lines[1]), decode_base64(lines[2]))
    if len(head.root) != 32 or head.size > MAX_SIZE:
        raise MalformedError("expected a root of 32 bytes and a size below 2**63")
    return head


def decode_base64(text: str) -> bytes:
    """Decode base64 in its one canonical form.

    Raises:
        MalformedError: Not base64, or written in another way than the encoder would.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise MalformedError("not base64") from e
    if base64.b64encode(raw).decode() != text:
        raise MalformedError("not canonical base64")
    return raw


def _check_by(key: VerifierKey) -> Check:
    return lambda text, signature: key.check(text.encode(), signature)


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise MalformedError("malformed signature line")
    raw = decode_base64(match[2])
    if len(raw) < 5:
        raise MalformedError("signature is too short")
    return match[1], raw
