"""Ed25519 keys with names, written as C2SP verifier keys. A private key never leaves its file.

Format of a verifier key: ``<name>+<8 hex of key id>+<base64 of type and public key>`` (C2SP
signed-note, "Verifier keys"). All keys of a site are named ``<site>/<role>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from consent import private_file
from consent.errors import BadSignatureError, KeyFileError, MalformedError

ED25519 = 0x01
_NAME = re.compile(r"[^\s+]+")


@dataclass(frozen=True)
class VerifierKey:
    """A name and a public key.

    Raises:
        MalformedError: The name is empty or holds white space or ``+``; the key is not 32 bytes.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.public) != 32:
            raise MalformedError(f"not a name and an Ed25519 key: {self.name!r}")

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.public)

    @cached_property
    def key_id(self) -> bytes:
        """Four bytes that tell keys apart (C2SP signed-note, "Signatures")."""
        text = self.name.encode() + b"\n" + bytes([ED25519]) + self.public
        return hashlib.sha256(text).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as text, to be handed out."""
        data = base64.b64encode(bytes([ED25519]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{data}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read a key from its text.

        Raises:
            MalformedError: The text is not a verifier key, or its key id is of another key.
        """
        parts = vkey.split("+", 2)
        try:
            raw = base64.b64decode(parts[2], validate=True)
            if base64.b64encode(raw).decode() != parts[2] or raw[:1] != bytes([ED25519]):
                raise MalformedError("expected a key of type 1 (Ed25519)")
            key = cls(parts[0], raw[1:])
        except (IndexError, binascii.Error, UnicodeEncodeError) as e:
            raise MalformedError("expected NAME+KEYID+KEY, a C2SP verifier key") from e
        if key.key_id.hex() != parts[1]:
            raise MalformedError(f"{parts[0]}: the key id does not belong to the key")
        return key

    def check(self, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            BadSignatureError: It does not match.
        """
        try:
            self._key.verify(signature, message)
        except (InvalidSignature, ValueError) as e:
            raise BadSignatureError(f"bad signature by {self.name}") from e


@dataclass(frozen=True)
class SigningKey:
    """A name and a private key. ``repr`` shows the name alone."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Make a new key."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> SigningKey:
        """Make the key of a seed of 32 bytes. For simulations, where runs must be repeatable."""
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @cached_property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Sign. 64 bytes."""
        return self.private.sign(message)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read.

        Raises:
            KeyFileError: The file exists.
        """
        pem = self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_key_file(path, self.name, pem)

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key that ``save`` wrote.

        Raises:
            KeyFileError: The file is missing, readable by others, or not a key.
        """
        name, private = read_key_file(path)
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{path}: not an Ed25519 key")
        return cls(name, private)


def is_key_name(name: str) -> bool:
    """Tell whether a note can name a key so: no white space and no ``+``."""
    return _NAME.fullmatch(name) is not None


def write_key_file(path: Path, name: str, pem: bytes) -> None:
    """Write a named private key to a new file that only its owner can read.

    Raises:
        KeyFileError: The file exists.
    """
    private_file.write_new(path, f"# {name}\n".encode() + pem)


def read_key_file(path: Path) -> tuple[str, PrivateKeyTypes]:
    """Read a named private key.

    Raises:
        KeyFileError: The file is missing, readable by others, or not a key.
    """
    name, _, pem = private_file.read(path).partition(b"\n")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except ValueError as e:
        raise KeyFileError(f"{path}: not a private key") from e
    if not name.startswith(b"# "):
        raise KeyFileError(f"{path}: not a key that Omote wrote")
    return name[2:].decode(), private
