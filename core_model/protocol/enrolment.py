"""The two files by which a site and a server get to know each other. Nothing in them is secret.

``enrolment.json`` goes from the site's operator to the server's, ``invitation.json`` comes back.
Both travel outside of Omote, such as by mail: each side compares the fingerprints by telephone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from core_model.action_units import check_aus
from core_model.config import Settings
from core_model.settings_file import SettingsError

SITE_ID = "^[A-Za-z0-9._-]{1,64}$"
VKEY = r"^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}$"  # C2SP signed-note, an Ed25519 key
NODE_KEY = r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]{100,300}$"  # OpenSSH, as Flower wants it
ADDRESS = r"^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"
SHA256 = "^[0-9a-f]{64}$"
MAX_BYTES = 200_000


class Enrolment(Settings):
    """What the server's operator is told about a site."""

    format: Literal["omote-enrolment-v1"] = "omote-enrolment-v1"
    site_id: str = Field(pattern=SITE_ID)
    key: str = Field(pattern=VKEY)  # signs attestations
    log_key: str = Field(pattern=VKEY)  # of the consent log
    node_key: str = Field(pattern=NODE_KEY)  # of the SuperNode
    labelled_aus: tuple[int, ...] = ()  # none: pretraining only

    @field_validator("labelled_aus")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus) if aus else aus


class Invitation(Settings):
    """What the site's operator is told about the server."""

    format: Literal["omote-invitation-v1"] = "omote-invitation-v1"
    site_id: str = Field(pattern=SITE_ID)
    address: str = Field(pattern=ADDRESS)  # host:port of the fleet endpoint
    ca: str = Field(pattern="^-----BEGIN CERTIFICATE-----", max_length=100_000)  # PEM
    bundle: str = Field(pattern=SHA256)  # of the app bundle: the only one that the site will run
    server_key: str | None = Field(None, pattern=VKEY)  # signs the server's log of rounds


Kind = TypeVar("Kind", Enrolment, Invitation)


def read_json(path: Path, kind: type[Kind]) -> Kind:
    """Read one of the two files.

    Raises:
        SettingsError: It cannot be read, or a field is not right. Names file and field.
    """
    try:
        with path.open("rb") as f:
            raw = f.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise SettingsError(f"{path}: expected at most {MAX_BYTES} bytes")
        return kind.model_validate_json(raw)
    except OSError as e:
        raise SettingsError(f"{path}: cannot be read ({e.strerror})") from e
    except ValidationError as e:
        lines = [
            f"{path}: {'.'.join(map(str, p['loc'])) or 'file'}: {p['msg']}" for p in e.errors()
        ]
        raise SettingsError("\n".join(lines)) from e


def write_json(path: Path, value: Enrolment | Invitation) -> None:
    """Write one of the two files, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(value.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
