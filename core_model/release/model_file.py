"""A released model on disk: read it, and believe it only if someone trusted signed these bytes.

``model.onnx`` is the model with its card inside, ``model.onnx.sig`` a signed note of its digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core_model.release.card import CardError, ReleaseCard, parse_card
from core_model.release.onnx_scan import NotOnnxError, check_alone, metadata_of
from core_model.release.signature import PublicKey, SignatureError, open_note, sign_note

MAX_MODEL_BYTES = 1_600_000_000  # protocol buffers end at 2 GB
_NOTE = "omote.dev/model/v1"


class ModelFileError(Exception):
    """A released model is missing, damaged, or was not signed by anyone trusted."""


@dataclass(frozen=True)
class ReleasedModel:
    """A model as it was read, with its card."""

    name: str
    card: ReleaseCard
    digest: str  # SHA-256 of the file
    signer: str | None  # name of the key; None: the user said not to ask
    content: bytes = field(repr=False)


def signature_path(path: Path) -> Path:
    """Return where the signature of ``path`` lies."""
    return path.with_name(path.name + ".sig")


def write_model(path: Path, content: bytes, key_file: Path | None) -> None:
    """Write a model and, with a key, its signature; each whole or not at all.

    Raises:
        SignatureError: The key cannot be used. Then nothing is written.
    """
    note = sign_note(_text(hashlib.sha256(content).hexdigest()), key_file) if key_file else None
    path.parent.mkdir(parents=True, exist_ok=True)
    signature_path(path).unlink(missing_ok=True)  # of what lay here before
    _replace(path, content)
    if note is not None:
        _replace(signature_path(path), note.encode())


def read_model(
    path: Path, keys: Sequence[PublicKey], *, may_be_unsigned: bool = False
) -> ReleasedModel:
    """Read a model. Nothing of it reaches a runtime before these checks.

    Args:
        path: The ONNX file.
        keys: Of those whom the user trusts.
        may_be_unsigned: The user says not to ask for a signature.

    Raises:
        ModelFileError: It cannot be read, is not one of ours, or its signature does not hold.
    """
    # (1) small enough to read
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    # (2) signed, these very bytes, by someone whom the user trusts
    signer = None if may_be_unsigned else _signer(path, digest, keys)
    try:
        # (3) it says what it is and what for
        card = parse_card(metadata_of(content))
        # (4) it reads no other file
        check_alone(content)
    except (CardError, NotOnnxError) as e:
        raise ModelFileError(f"{path}: {e}") from e
    return ReleasedModel(path.name, card, digest, signer, content)


def _signer(path: Path, digest: str, keys: Sequence[PublicKey]) -> str:
    try:
        note = signature_path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ModelFileError(
            f"{path}: not signed ({signature_path(path).name} is missing or cannot be read). "
            "Ask for the signature, or say --unsigned if you trust this file for another reason"
        ) from e
    if not keys:
        raise ModelFileError(
            f"{path}: whom do you trust? Name the key of whoever released it: --trust NAME+ID+KEY "
            "(or a file of such lines), or say --unsigned"
        )
    try:
        text, key = open_note(note, keys)
    except SignatureError as e:
        raise ModelFileError(f"{path}: {e}") from e
    if text != _text(digest):
        raise ModelFileError(
            f"{path}: this is not the file that {key.name} signed; it was changed or swapped. "
            "Get it again"
        )
    return key.name


def _text(digest: str) -> str:
    return f"{_NOTE}\nsha256 {digest}\n"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelFileError(f"{path}: larger than {MAX_MODEL_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as e:
        raise ModelFileError(f"{path}: cannot be read ({e.strerror})") from e


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_bytes(content)
    draft.replace(path)
