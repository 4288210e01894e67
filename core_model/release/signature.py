"""Ed25519 signatures of files as C2SP signed notes, by keys as ``omote-consent`` writes them.

The same public formats as in the package ``consent`` (C2SP signed-note), written again here since
neither package may import the other (docs/adr/0015); tests hold the two against each other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]+")
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
MAX_NOTE_BYTES = 100_000
MAX_SIGNATURES = 100


class SignatureError(Exception):
    """A signature is missing, wrong or by nobody known, or a key cannot be used."""


@dataclass(frozen=True)
class PublicKey:
    """A name and an Ed25519 key, written ``NAME+KEYID+KEY`` (a C2SP verifier key)."""

    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys apart (C2SP signed-note, "Signatures")."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def text(self) -> str:
        """The key as text, to be handed out."""
        key = base64.b64encode(_ED25519 + self.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read a key from its text.

        Raises:
            SignatureError: It is not one.
        """
        parts = text.strip().split("+", 2)
        try:
            data = base64.b64decode(parts[2], validate=True)
        except (IndexError, binascii.Error, ValueError) as e:
            raise SignatureError("expected a key as NAME+KEYID+KEY") from e
        key = cls(parts[0], data[1:])
        if data[:1] != _ED25519 or len(key.raw) != 32 or not _NAME.fullmatch(key.name):
            raise SignatureError("expected a key as NAME+KEYID+KEY, of type 1 (Ed25519)")
        if key.text != text.strip():
            raise SignatureError(f"{key.name}: the key id does not belong to the key")
        return key


def read_public_keys(given: str) -> tuple[PublicKey, ...]:
    """Return the key of a text, or the keys of a file that has one a line.

    Raises:
        SignatureError: It is neither, or the file holds no key.
    """
    path = Path(given)
    try:
        text = path.read_text("utf-8") if len(given) < 200 and path.is_file() else given
    except (OSError, UnicodeDecodeError) as e:
        raise SignatureError(f"{path}: not a list of keys that can be read") from e
    lines = [line.strip() for line in text.splitlines()]
    keys = tuple(PublicKey.parse(line) for line in lines if line and not line.startswith("#"))
    if not keys:
        raise SignatureError(f"{path}: holds no key; expected NAME+KEYID+KEY, one a line")
    return keys


def sign_note(text: str, key_file: Path) -> str:
    """Return a note of ``text``, which must end with a new line, signed by a private key.

    Raises:
        SignatureError: The key cannot be read.
    """
    assert text.endswith("\n")
    name, private = _read_private(key_file)
    public = PublicKey(name, private.public_key().public_bytes_raw())
    signature = base64.b64encode(public.key_id + private.sign(text.encode())).decode()
    return f"{text}\n— {name} {signature}\n"


def open_note(note: str, keys: Sequence[PublicKey]) -> tuple[str, PublicKey]:
    """Return the text of a note, and the first of ``keys`` that signed it.

    Unknown keys are ignored; one bad signature by a known key spoils the note (C2SP signed-note).

    Raises:
        SignatureError: It is not a note, none of the keys signed it, or one did so wrongly.
    """
    text, _, tail = note.rpartition("\n\n")
    lines = tail.splitlines()
    if len(note) > MAX_NOTE_BYTES or not text or not lines or len(lines) > MAX_SIGNATURES:
        raise SignatureError("not a signed note")
    known = {(key.name, key.key_id): key for key in keys}
    signers = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise SignatureError("not a signed note: a signature line is malformed")
        raw = _decoded(match[2])
        if (key := known.get((match[1], raw[:4]))) is not None:
            _check(key, f"{text}\n".encode(), raw[4:])
            signers.append(key)
    if not signers:
        names = ", ".join(sorted({m[1] for m in map(_LINE.fullmatch, lines) if m}))
        raise SignatureError(f"signed by {names}, whose key is not among those that you trust")
    return f"{text}\n", signers[0]


def new_key(name: str, path: Path) -> PublicKey:
    """Write a new private key that only its owner can read; return the public half.

    Raises:
        SignatureError: The name holds white space or ``+``, or the file exists.
    """
    if not _NAME.fullmatch(name):
        raise SignatureError(f"expected a name without white space and '+', got {name!r}")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as e:
        raise SignatureError(f"{path}: cannot be written ({e.strerror})") from e
    with os.fdopen(handle, "wb") as f:
        f.write(f"# {name}\n".encode() + pem)
    return PublicKey(name, private.public_key().public_bytes_raw())


def _read_private(path: Path) -> tuple[str, Ed25519PrivateKey]:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SignatureError(f"{path}: others can read this key; chmod 600 it")
        head, _, pem = path.read_bytes().partition(b"\n")
        private = serialization.load_pem_private_key(pem, password=None)
    except OSError as e:
        raise SignatureError(f"{path}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise SignatureError(f"{path}: not a private key") from e
    if not head.startswith(b"# ") or not isinstance(private, Ed25519PrivateKey):
        raise SignatureError(f"{path}: not a key that Omote wrote")
    return head[2:].decode(), private


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise SignatureError("not a signed note: a signature is not base64") from e


def _check(key: PublicKey, message: bytes, signature: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except (InvalidSignature, ValueError) as e:
        raise SignatureError(f"the signature by {key.name} does not hold") from e
