"""Make a server: certificates, keys, a federation.toml with comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from consent import private_file
from consent.keys import SigningKey
from fl_server.certificates import (
    LOOPBACK,
    check_certificate,
    load_authority,
    make_authority,
    make_certificate,
)
from fl_server.config import split_address
from fl_server.errors import StartError
from fl_server.folder import ServerFolder

TEMPLATE = Path(__file__).parent / "templates" / "federation.toml"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class OwnCertificate:
    """A certificate that the operator has from elsewhere."""

    certificate: Path
    key: Path
    ca: Path


def found(
    folder: ServerFolder, name: str, address: str, now: datetime, own: OwnCertificate | None = None
) -> None:
    """Make a server in an empty folder.

    Args:
        folder: Where.
        name: Of the federation; its run and its keys are named so.
        address: What sites connect to, HOST:PORT.
        now: The time.
        own: A certificate from elsewhere; if not given, an authority and one of it are made.

    Raises:
        StartError: The folder holds a server, the name is none, or the certificate is not right.
        KeyFileError: A key is there already.
    """
    if folder.federation.exists():
        raise StartError(f"{folder.federation} exists; choose another folder")
    if _NAME.fullmatch(name) is None:
        raise StartError(f"{name!r}: expected letters, digits, dots and dashes, at most 64")
    host, port = split_address(address)
    for place in (folder.root, folder.run, folder.logs, folder.ca_key.parent):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.sites.mkdir(exist_ok=True)
    if own is None:
        authority = make_authority(name, now)
        private_file.write_new(folder.ca_key, authority.key_pem())
        folder.ca.write_bytes(authority.certificate_pem())
        _write_pair(folder, host, now)
    else:
        _take(folder, own, host, now)
    SigningKey.generate(f"{name}/round-log").save(folder.log_key)
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("@NAME@", name).replace("@ADDRESS@", address).replace("@PORT@", str(port))
    folder.federation.write_text(text, encoding="utf-8")


def renew(folder: ServerFolder, host: str, now: datetime) -> None:
    """Make a new key and certificate of the same authority: sites notice nothing.

    Raises:
        StartError: The authority's key is not here.
        KeyFileError: It can be read by others.
    """
    if not folder.ca_key.exists():
        raise StartError(
            f"{folder.ca_key} is not here: bring it back for the renewal, or replace "
            f"{folder.certificate} and {folder.key} by new ones from your own authority"
        )
    _write_pair(folder, host, now)


def _write_pair(folder: ServerFolder, host: str, now: datetime) -> None:
    authority = load_authority(private_file.read(folder.ca_key), folder.ca.read_bytes())
    hosts = tuple(dict.fromkeys((host, *LOOPBACK)))
    pair = make_certificate(authority, hosts, now)
    if folder.key.exists():
        private_file.replace(folder.key, pair.key_pem())
    else:
        private_file.write_new(folder.key, pair.key_pem())
    draft = folder.certificate.with_name("server.pem.draft")
    draft.write_bytes(pair.certificate_pem())
    draft.replace(folder.certificate)


def _take(folder: ServerFolder, own: OwnCertificate, host: str, now: datetime) -> None:
    try:
        certificate, ca = own.certificate.read_bytes(), own.ca.read_bytes()
    except OSError as e:
        raise StartError(f"{e.filename}: cannot be read ({e.strerror})") from e
    key = private_file.read(own.key)
    check_certificate(certificate, key, ca, host, now)
    private_file.write_new(folder.key, key)
    folder.certificate.write_bytes(certificate)
    folder.ca.write_bytes(ca)
