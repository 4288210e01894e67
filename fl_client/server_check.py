"""Check the server that a site joined: reached, vouched for, and which app bundle came last."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryptography import x509

from core_model.protocol.enrolment import SHA256, Invitation
from core_model.settings_file import SettingsError
from fl_client.config import SiteConfig
from fl_client.doctor import Finding
from fl_client.errors import NodeError
from fl_client.node_folder import NodeFolder, fingerprint, read_certificates

TIMEOUT_S = 5.0
SOON = timedelta(days=30)
MAX_SKEW_S = 60.0  # Flower refuses a SuperNode whose clock is more than five minutes off
MAX_REPLY = 4096


@dataclass(frozen=True)
class Seen:
    """What a look at the server showed."""

    certificate: x509.Certificate
    date: datetime | None  # by its own clock


def examine_server(config: SiteConfig, now: datetime) -> Iterator[Finding]:
    """Yield findings about the server, if one was joined."""
    node = NodeFolder(config.node)
    try:
        invitation = node.joined()
        authorities = read_certificates(invitation.ca)
    except NodeError as e:
        yield Finding("warning", "no server joined", str(e).partition("run: ")[2])
        return
    except SettingsError as e:
        yield Finding("error", str(e), "omote-site join invitation.json --site site.toml --replace")
        return
    if invitation.site_id != config.site_id:
        text = f"the invitation is for {invitation.site_id}, this site is {config.site_id}"
        yield Finding("error", text, "ask the server's operator for the right one")
    for authority in authorities:
        yield _expiry(f"CA {fingerprint(authority)[:16]}", authority, now)
    yield from _reach(invitation, now)
    yield _bundle(node.last_bundle, invitation)


def _reach(invitation: Invitation, now: datetime) -> Iterator[Finding]:
    try:
        seen = look(invitation)
    except ssl.SSLCertVerificationError as e:
        yield Finding(
            "error",
            f"{invitation.address}: its certificate does not hold ({e.verify_message})",
            "compare the CA's fingerprint with the server's operator by telephone",
        )
    except OSError as e:
        yield Finding(
            "error",
            f"{invitation.address}: not reached ({e.strerror or e})",
            "is the server up, and does a firewall let this site out to it?",
        )
    else:
        yield _expiry(f"server {invitation.address}, certificate", seen.certificate, now)
        if seen.date is not None:
            yield _skew((seen.date - now).total_seconds())


def look(invitation: Invitation) -> Seen:
    """Connect once, as the SuperNode will.

    Raises:
        OSError: Not reached, or its certificate does not hold.
    """
    host, _, port = invitation.address.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cadata=invitation.ca)
    with (
        socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
        assert der is not None  # it was verified
        secure.sendall(b"HEAD / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode())
        reply = secure.recv(MAX_REPLY)
    return Seen(x509.load_der_x509_certificate(der), _date(reply))


def _date(reply: bytes) -> datetime | None:
    found = re.search(rb"^date: *([^\r\n]{1,64})", reply, re.IGNORECASE | re.MULTILINE)
    try:
        return parsedate_to_datetime(found[1].decode("ascii")) if found else None
    except ValueError:
        return None


def _skew(seconds: float) -> Finding:
    if abs(seconds) <= MAX_SKEW_S:
        return Finding("ok", "clock agrees with the server's to the minute")
    text = f"clock is {abs(seconds):.0f} s off from the server's"
    return Finding("error", text, "set the clock: Flower refuses a site that is minutes off")


def _expiry(what: str, certificate: x509.Certificate, now: datetime) -> Finding:
    end = certificate.not_valid_after_utc
    text = f"{what}: valid until {end:%Y-%m-%d}"
    if end <= now:
        return Finding("error", text, "ask the server's operator for a new one")
    return Finding("warning" if end - now < SOON else "ok", text)


def _bundle(last: Path, invitation: Invitation) -> Finding:
    """Compare what came last with what is pinned. The file is the SuperNode's: not trusted."""
    pinned = f"bundle pinned: {invitation.bundle[:16]}"
    if not last.exists():
        return Finding("ok", f"{pinned}, none has come yet")
    try:
        found = json.loads(last.read_bytes()[:1000])
        digest, is_admitted = str(found["sha256"]), found["admitted"] is True
    except (ValueError, KeyError, TypeError):
        digest, is_admitted = "", False
    if not re.fullmatch(SHA256, digest):
        return Finding("warning", f"{pinned}; {last} is damaged", f"rm {last}")
    if is_admitted and digest == invitation.bundle:
        return Finding("ok", f"{pinned}, and that one came last")
    return Finding(
        "error",
        f"{pinned}; {digest[:16]} came last and was refused",
        "ask the server's operator why; a new one needs: omote-site join ... --replace",
    )
