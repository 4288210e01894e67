"""The permit of a declared use: what the rules said, asked before anything is read.

``omote-consent policy permit`` writes it: a line of JSON as a C2SP note, signed where a site has a
data-protection officer. This package knows no rules (docs/adr/0015); it reads the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from core_model.config import Settings
from core_model.release.signature import PublicKey, SignatureError, open_note

_FORMAT = "omote.dev/permit/v1"
MAX_PERMIT_BYTES = 50_000
DEPLOYMENT = "deployment"


class PermitError(Exception):
    """There is no permit for this use, or it does not hold (any more)."""


class Permit(Settings):
    """A use that the rules permit, as declared."""

    title: str
    declaration: str = Field(pattern="^[0-9a-f]{64}$")  # digest of what was declared
    policy: str = Field(pattern="^[0-9a-f]{64}$")  # digest of the rules
    rules: tuple[str, ...]  # that matched
    duties: tuple[str, ...]  # which nobody checks here
    output_kind: tuple[str, ...]
    purposes: tuple[str, ...]
    decided_at: AwareDatetime
    valid_until: AwareDatetime


def read_permit(
    path: Path, at: datetime, keys: Sequence[PublicKey] = ()
) -> tuple[Permit, str | None]:
    """Return a permit that holds, and who signed it (None: nobody; it is the user's own word).

    Args:
        path: The file.
        at: Now.
        keys: If given, one of them must have signed.

    Raises:
        PermitError: It cannot be read, does not hold now, or is for something else.
    """
    remedy = "ask the rules again: omote-consent policy permit USE.toml --out USE.permit"
    try:
        if path.stat().st_size > MAX_PERMIT_BYTES:
            raise PermitError(f"{path}: too large for a permit; {remedy}")
        note = path.read_text("utf-8")
        text, signer = note, None
        if keys:
            text, key = open_note(note, keys)
            signer = key.name
        permit = _parsed(text)
    except (OSError, UnicodeDecodeError) as e:
        raise PermitError(f"{path}: no permit that can be read; {remedy}") from e
    except SignatureError as e:
        raise PermitError(f"{path}: {e}") from e
    except ValueError as e:
        raise PermitError(f"{path}: not a permit; {remedy}") from e
    if not permit.decided_at <= at < permit.valid_until:
        raise PermitError(f"{path}: ran out at {permit.valid_until:%Y-%m-%d %H:%M %Z}; {remedy}")
    if permit.output_kind != ("au",) or DEPLOYMENT not in permit.purposes:
        raise PermitError(
            f"{path}: permits {', '.join(permit.output_kind)} for {', '.join(permit.purposes)}; "
            f'this command needs output_kind = ["au"] and the purpose "{DEPLOYMENT}"'
        )
    return permit, signer


def _parsed(note: str) -> Permit:
    head, body, *_ = [*note.split("\n"), ""]
    if head != _FORMAT:
        raise ValueError("not a permit")
    try:
        return Permit.model_validate_json(body)
    except ValidationError as e:
        raise ValueError("not a permit") from e
