"""What a witness adds to a tree head: at this time, this was the largest head it saw, and it grew.

C2SP tlog-cosignature with Ed25519 (type 4), which every witness knows, and ML-DSA-44 (type 6),
which a quantum computer does not break.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from consent.errors import BadSignatureError, KeyFileError, MalformedError
from consent.keys import SigningKey, VerifierKey, is_key_name, read_key_file, write_key_file
from consent.note import (
    TreeHead,
    decode_base64,
    open_tree_head,
    parse_tree_head,
    signature_line,
    split_note,
)

ED25519, ML_DSA_44 = 0x04, 0x06
_LAST_TIME_S = 253_402_300_799  # the year 9999: what a datetime can hold
_SIZES = {ED25519: (32, 64), ML_DSA_44: (1312, 2420)}  # bytes of a public key, of a signature


@dataclass(frozen=True)
class WitnessKey:
    """A witness's name and public key.

    Raises:
        MalformedError: The name is empty or holds white space or ``+``; the key has a wrong size.
    """

    name: str
    kind: int
    public: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.kind not in _SIZES or len(self.public) != _SIZES[self.kind][0]:
            raise MalformedError("expected an Ed25519 (4) or ML-DSA-44 (6) cosignature key")
        if not is_key_name(self.name):
            raise MalformedError(f"not the name of a key: {self.name!r}")

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys apart."""
        text = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(text).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as text, to be handed out."""
        data = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{data}"

    @classmethod
    def parse(cls, vkey: str) -> WitnessKey:
        """Read a key from its text.

        Raises:
            MalformedError: The text is not a verifier key, or its key id is of another key.
        """
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise MalformedError("expected NAME+KEYID+KEY, a C2SP verifier key")
        raw = decode_base64(parts[2])
        key = cls(parts[0], raw[0] if raw else 0, raw[1:])
        if key.key_id.hex() != parts[1]:
            raise MalformedError(f"{parts[0]}: the key id does not belong to the key")
        return key

    def check(self, text: str, signature: bytes) -> int:
        """Check a cosignature of a tree head's text; return its unix time.

        Raises:
            BadSignatureError: It does not match.
        """
        if len(signature) != 8 + _SIZES[self.kind][1]:
            raise BadSignatureError(f"cosignature by {self.name} has a wrong length")
        (time_s,) = struct.unpack(">Q", signature[:8])
        try:
            message = _message(self.kind, self.name, text, time_s)
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
            else:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
        except (InvalidSignature, ValueError) as e:
            raise BadSignatureError(f"bad cosignature by {self.name}") from e
        return int(time_s)


@dataclass(frozen=True)
class Cosigner:
    """A witness's name and private key."""

    name: str
    private: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, name: str, kind: int = ED25519) -> Cosigner:
        """Make a new key."""
        if kind == ED25519:
            return cls(name, Ed25519PrivateKey.generate())
        return cls(name, MLDSA44PrivateKey.generate())

    @property
    def kind(self) -> int:
        """The type of its signatures."""
        return ED25519 if isinstance(self.private, Ed25519PrivateKey) else ML_DSA_44

    @property
    def verifier(self) -> WitnessKey:
        """The public half."""
        return WitnessKey(self.name, self.kind, self.private.public_key().public_bytes_raw())

    def cosign(self, head: TreeHead, time_s: int) -> str:
        """Return a signature line for the note of ``head``."""
        message = _message(self.kind, self.name, head.text(), time_s)
        signature = struct.pack(">Q", time_s) + self.private.sign(message)
        return signature_line(self.name, self.verifier.key_id + signature)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read.

        Raises:
            KeyFileError: The file exists.
        """
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        pem = self.private.private_bytes(encoding, form, serialization.NoEncryption())
        write_key_file(path, self.name, pem)

    @classmethod
    def load(cls, path: Path) -> Cosigner:
        """Read a key that ``save`` wrote.

        Raises:
            KeyFileError: The file is missing, readable by others, or not a key of a witness.
        """
        name, private = read_key_file(path)
        if not isinstance(private, Ed25519PrivateKey | MLDSA44PrivateKey):
            raise KeyFileError(f"{path}: not an Ed25519 or ML-DSA-44 key")
        return cls(name, private)


def witness_key(key: VerifierKey) -> WitnessKey:
    """Return under what key the owner of a signing key cosigns: the same bytes, another type.

    What is signed begins otherwise for each use (``cosignature/v1``, a log's name, ``DSSEv1``), so
    no signature of one use is one of another; and nobody has one more key to compare.
    """
    return WitnessKey(key.name, ED25519, key.public)


def cosigner(key: SigningKey) -> Cosigner:
    """Return what cosigns with the key of a site or server; see ``witness_key``."""
    return Cosigner(key.name, key.private)


def open_cosigned(
    note: str, log_keys: Iterable[VerifierKey], witnesses: Iterable[WitnessKey]
) -> tuple[TreeHead, dict[WitnessKey, int]]:
    """Return a tree head, and when which witness cosigned it.

    Raises:
        MalformedError: The note does not hold a tree head of the log.
        BadSignatureError: The log did not sign it, or a signature by a known key is wrong.
    """
    head = open_tree_head(note, *log_keys)
    text, signatures = split_note(note)
    known = {(key.name, key.key_id): key for key in witnesses}
    times: dict[WitnessKey, int] = {}
    for name, raw in signatures:
        key = known.get((name, raw[:4]))
        if key is not None and key not in times:
            times[key] = key.check(text, raw[4:])
    return head, times


def cosignature_time(line: str) -> int:
    """Return the unix time in a signature line that was checked before."""
    raw = decode_base64(line.rstrip("\n").rpartition(" ")[2])
    return int(struct.unpack(">Q", raw[4:12])[0])


def _message(kind: int, name: str, text: str, time_s: int) -> bytes:
    if time_s > _LAST_TIME_S:
        raise ValueError("time is beyond the year 9999")
    if kind == ED25519:
        return b"cosignature/v1\ntime %d\n" % time_s + text.encode()
    head = parse_tree_head(text)
    names = [bytes([len(part)]) + part for part in (name.encode(), head.origin.encode())]
    start_and_end = struct.pack(">QQ", 0, head.size)
    time_bytes = struct.pack(">Q", time_s)
    return b"subtree/v1\n\0" + names[0] + time_bytes + names[1] + start_and_end + head.root
