"""Files of results about one model, and who vouches for them. No torch.

``audit.json`` holds figures, ``audit.json.sig`` a signed note that binds these bytes to the digest
of a model's weights. Whoever changes a figure, or shows the figures of another model, is found out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from core_model.release.signature import PublicKey, SignatureError, open_note, sign_note

_NOTE = "omote.dev/results/v1"
MAX_BYTES = 20_000_000


class ResultsError(Exception):
    """Results are missing, of another model, changed, or vouched for by nobody trusted."""


def vouch(path: Path, model: str, key_file: Path) -> None:
    """Sign a file of results about the weights of digest ``model``.

    Raises:
        SignatureError: The key cannot be used.
        OSError: The file cannot be read.
    """
    note = sign_note(_text(model, path.read_bytes()), key_file)
    draft = path.with_name(f"{path.name}.sig.{os.getpid()}.draft")
    draft.write_text(note, encoding="utf-8")
    draft.replace(path.with_name(f"{path.name}.sig"))


def read_results(path: Path, model: str, keys: Sequence[PublicKey]) -> bytes:
    """Return a file of results that somebody trusted vouches for.

    Raises:
        ResultsError: It cannot be read, was changed, is of another model, or is not signed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ResultsError(f"{path}: larger than {MAX_BYTES:,} bytes")
        content = path.read_bytes()
        note = path.with_name(f"{path.name}.sig").read_text("utf-8")
        text, key = open_note(note, keys)
    except (OSError, UnicodeDecodeError) as e:
        raise ResultsError(
            f"{path}: missing, or nobody vouches for it; sign it with: omote-model vouch"
        ) from e
    except SignatureError as e:
        raise ResultsError(f"{path}: {e}") from e
    if text != _text(model, content):
        raise ResultsError(
            f"{path}: not what {key.name} vouched for: changed since, or of another model"
        )
    return content


def _text(model: str, content: bytes) -> str:
    return f"{_NOTE}\nmodel {model}\nsha256 {hashlib.sha256(content).hexdigest()}\n"
