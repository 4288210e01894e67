"""What admitted sites signed, kept beside the rounds so that anyone can check them later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from consent.attestation import Attestation, open_attestation
from consent.errors import ConsentError
from consent.keys import VerifierKey
from core_model.durable import put_in_place
from fl_server.errors import RoundLogError


def keep_attestations(output: Path, number: int, envelopes: Mapping[str, bytes]) -> None:
    """Write the envelopes of one round; call it before the round counts as finished."""
    for site_id, envelope in envelopes.items():
        path = _path(output, number, site_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.draft")
        draft.write_bytes(envelope)
        put_in_place(draft, path)


def kept_envelopes(output: Path, number: int, sites: Iterable[str]) -> dict[str, bytes]:
    """Return the envelopes of one round as they were kept.

    Raises:
        OSError: One is missing.
    """
    return {site_id: _path(output, number, site_id).read_bytes() for site_id in sites}


def check_kept(
    output: Path, number: int, site_id: str, digest: str, key: VerifierKey
) -> Attestation:
    """Return the attestation kept of a site and round, if it is the one that ``digest`` names.

    Raises:
        RoundLogError: It is missing, another one, or not signed by the site.
    """
    path = _path(output, number, site_id)
    try:
        opened = open_attestation(path.read_bytes(), key)
    except OSError as e:
        raise RoundLogError(f"{path}: cannot be read ({e.strerror})") from e
    except ConsentError as e:
        raise RoundLogError(f"{path}: {e}") from e
    if opened.digest != digest or (opened.attestation.site, opened.attestation.round) != (
        site_id,
        number,
    ):
        raise RoundLogError(f"{path}: not the attestation that the round log names")
    return opened.attestation


def _path(output: Path, number: int, site_id: str) -> Path:
    return output / "attestations" / f"{number:04d}" / f"{site_id}.json"
