"""The folder of a site's SuperNode: all that it needs to know, and nothing about people.

::

    node.key          its private key for the server (OpenSSH, EC P-384, as Flower wants it)
    invitation.json   what the site joined: address, pinned bundle
    ca.pem            who may vouch for the server
    bundle.json       the app bundle that came last, and whether it ran
    supernode.log     what Flower's programs say
    flwr/             Flower's own files

The folder may belong to another Unix user, who then can read no file of the site but these.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consent import private_file
from consent.errors import KeyFileError
from core_model.protocol.enrolment import Invitation, read_json, write_json
from fl_client.errors import NodeError


@dataclass(frozen=True)
class NodeFolder:
    """Where everything of the SuperNode lies."""

    folder: Path

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.folder / "node.key"

    @property
    def invitation(self) -> Path:
        """What was joined."""
        return self.folder / "invitation.json"

    @property
    def ca(self) -> Path:
        """Certificates of who may vouch for the server."""
        return self.folder / "ca.pem"

    @property
    def last_bundle(self) -> Path:
        """What came last."""
        return self.folder / "bundle.json"

    @property
    def log(self) -> Path:
        """What Flower's programs say."""
        return self.folder / "supernode.log"

    @property
    def flower(self) -> Path:
        """Flower's own files."""
        return self.folder / "flwr"

    def make_key(self) -> str:
        """Make the key unless there is one; return the public half, as Flower wants it.

        Raises:
            KeyFileError: The key that is there cannot be used.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.key.exists():
            key = ec.generate_private_key(ec.SECP384R1())
            form, bare = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            pem = key.private_bytes(serialization.Encoding.PEM, form, bare)
            private_file.write_new(self.key, pem)
        return self.public_key()

    def public_key(self) -> str:
        """Return the public half of the key.

        Raises:
            KeyFileError: The key is missing, readable by others, or of another kind.
        """
        try:
            key = serialization.load_ssh_private_key(private_file.read(self.key), password=None)
        except ValueError as e:
            raise KeyFileError(f"{self.key}: not an OpenSSH private key") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
            raise KeyFileError(f"{self.key}: expected an EC P-384 key")
        return (
            key.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    def joined(self) -> Invitation:
        """Return what the site joined.

        Raises:
            NodeError: Nothing yet.
            SettingsError: The file is not right.
        """
        if not self.invitation.exists():
            raise NodeError("no server yet; run: omote-site join invitation.json --site site.toml")
        return read_json(self.invitation, Invitation)

    def join(self, invitation: Invitation, *, replace: bool = False) -> None:
        """Keep an invitation.

        Raises:
            NodeError: The certificates are none, or another server or bundle was joined before.
        """
        read_certificates(invitation.ca)
        if self.invitation.exists() and not replace and self.joined() != invitation:
            raise NodeError(
                "this site joined before, and this is not the same; compare "
                f"{self.invitation} with the new file, then add --replace"
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.ca.with_suffix(".draft")
        draft.write_text(invitation.ca, encoding="ascii")
        draft.replace(self.ca)
        write_json(self.invitation, invitation)


def read_certificates(pem: str) -> list[x509.Certificate]:
    """Read the certificates of a CA.

    Raises:
        NodeError: They are none.
    """
    try:
        return x509.load_pem_x509_certificates(pem.encode("ascii"))
    except (ValueError, UnicodeEncodeError) as e:
        raise NodeError("ca: expected certificates in PEM form") from e


def fingerprint(certificate: x509.Certificate) -> str:
    """Return SHA-256 of a certificate, to be read out over the telephone."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return hashlib.sha256(der).hexdigest()
