"""A real SuperLink with TLS and SuperNode authentication on loopback, as sites meet it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fl_server.certificates import LOOPBACK, make_authority, make_certificate
from simulations.flower_run import (
    ENVIRONMENT,
    PROJECT,
    _free_port,
    _start,
    _stop,
    _wait_for_port,
)

BIN = Path(sys.executable).parent


class SecureLink:
    """A SuperLink in a folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.ca = write_certificates(home)
        self._environment = {**os.environ, **ENVIRONMENT, "FLWR_HOME": str(home)}
        self._environment["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "link"\n[superlink.link]\naddress = "{self.address}"\n'
            f'root-certificates = "{home / "ca.pem"}"\n'
        )

    @contextmanager
    def started(self) -> Iterator[None]:
        command = [
            "flower-superlink", "--ssl-ca-certfile", "ca.pem", "--ssl-certfile", "server.pem",
            "--ssl-keyfile", "server.key", "--enable-supernode-auth", "--host", "127.0.0.1",
            "--port", str(self.port), "--disable-runtime-dependency-installation",
        ]  # fmt: skip
        command = [str(self.home / c) if c.endswith((".pem", ".key")) else c for c in command]
        link = _start(command, self.home / "superlink.log", self._environment)
        try:
            _wait_for_port(self.port, self.home / "superlink.log")
            yield
        finally:
            _stop(link)

    def register(self, node_key: str) -> None:
        """Let a SuperNode in."""
        public = self.home / "node.pub"
        public.write_text(node_key)
        self._flwr("supernode", "register", str(public), "link")

    def bundle(self, code: dict[str, str] | None = None) -> tuple[Path, str]:
        """Make an app, with code if wanted; return its folder and the digest of its bundle."""
        folder = self.home / f"app-{len(code or {})}"
        folder.mkdir()
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(PROJECT / name, folder / name)
        for name, text in (code or {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        if code:
            project = folder / "pyproject.toml"
            include = 'fab-include = ["/README.md"]'
            project.write_text(
                project.read_text().replace(include, 'fab-include = ["/README.md", "/**/*.py"]')
            )
        self._flwr("build", "--app", str(folder), cwd=folder)
        (fab,) = folder.glob("*.fab")
        digest = hashlib.sha256(fab.read_bytes()).hexdigest()
        fab.unlink()
        return folder, digest

    def run(self, app: Path, federation: Path) -> str:
        """Run an app to its end; return what it printed."""
        return self._flwr(
            "run", str(app), "link", "--stream", "--run-config", f'federation="{federation}"'
        )

    def _flwr(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [BIN / "flwr", *arguments], env=self._environment, cwd=cwd or self.home, check=False,
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def write_certificates(home: Path) -> str:
    """Write a CA and a certificate of loopback by it; return the CA in PEM form."""
    now = datetime.now(UTC)
    authority = make_authority("test", now)
    server = make_certificate(authority, LOOPBACK, now, days=60)
    ca = authority.certificate_pem()
    (home / "ca.pem").write_bytes(ca)
    (home / "server.pem").write_bytes(server.certificate_pem())
    (home / "server.key").write_bytes(server.key_pem())
    return ca.decode()
