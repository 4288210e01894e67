"""The nonces of a round: after a crash of the server the same ones.

So the round is asked for in the very same words, and a site that had signed its update sends that
one, instead of training, and spending, a second time (``fl_client/kept_update.py``).
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from pydantic import Field, ValidationError

from core_model.config import Settings
from core_model.durable import put_in_place

FILE = "nonces.json"


class _Kept(Settings):
    """What the nonces of one round are made of."""

    run_id: str
    round: int
    key: str = Field(pattern="^[0-9a-f]{64}$")


class Nonces:
    """Of one round; on the disk from the first that is asked for."""

    def __init__(self, folder: Path, run_id: str, number: int) -> None:
        self._path, self._run_id, self._number = folder / FILE, run_id, number
        self._key: bytes | None = None

    def of(self, site_id: str) -> str:
        """Return the nonce of a site."""
        if self._key is None:
            self._key = self._read() or self._write()
        return hmac.digest(self._key, site_id.encode(), "sha256")[:16].hex()

    def renew(self) -> None:
        """Take others from now on; they are not kept."""
        self._key = secrets.token_bytes(32)

    def _read(self) -> bytes | None:
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None  # with new ones sites answer anew; nothing else is lost
        if (kept.run_id, kept.round) != (self._run_id, self._number):
            return None
        return bytes.fromhex(kept.key)

    def _write(self) -> bytes:
        key = secrets.token_bytes(32)
        kept = _Kept(run_id=self._run_id, round=self._number, key=key.hex())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{FILE}.{os.getpid()}.draft")
        draft.write_text(kept.model_dump_json() + "\n", encoding="utf-8")
        put_in_place(draft, self._path)
        return key
