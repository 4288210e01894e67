"""The folder of a server: what the operator writes, and what the programs keep.

::

    federation.toml    what is trained, by the operator
    sites/SITE.toml    who takes part, from omote-server enroll
    initial.safetensors and rounds/    the model, as federation.toml says, and its figures
    keys/              ca.key, server.key, round-log.key: mode 600
    ca.pem, server.pem the certificates that sites check
    round-log/         the signed log of rounds, and what sites cosigned of it
    witness/           the heads of sites' consent logs that the server cosigned last
    run/               Flower's files, made anew where they are missing
    logs/              what the programs say

"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerFolder:
    """Where everything lies."""

    root: Path

    @property
    def federation(self) -> Path:
        """The settings."""
        return self.root / "federation.toml"

    @property
    def sites(self) -> Path:
        """One file for each enrolled site."""
        return self.root / "sites"

    @property
    def ca(self) -> Path:
        """Certificate of who vouches for the server."""
        return self.root / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The server's certificate, with what leads to the CA."""
        return self.root / "server.pem"

    @property
    def ca_key(self) -> Path:
        """Needed to renew the server's certificate alone: may be kept elsewhere."""
        return self.root / "keys" / "ca.key"

    @property
    def key(self) -> Path:
        """Private key of the server's certificate."""
        return self.root / "keys" / "server.key"

    @property
    def log_key(self) -> Path:
        """Signs the log of rounds."""
        return self.root / "keys" / "round-log.key"

    @property
    def round_log(self) -> Path:
        """The log of rounds."""
        return self.root / "round-log"

    @property
    def witness(self) -> Path:
        """What the server remembers of consent logs."""
        return self.root / "witness"

    @property
    def run(self) -> Path:
        """Flower's own files, settings of the proxy, the lock."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """What the programs say."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held while a server runs here."""
        return self.run / "server.pid"
