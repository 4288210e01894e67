"""From what was typed to a page and a socket that serve, until Ctrl+C."""

from __future__ import annotations

import ipaddress
import secrets
import signal
import socket as socketlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core_model.release.signature import read_public_keys
from core_model.serve.studio import Studio
from core_model.use.hide import Hider
from core_model.use.permit import read_permit
from core_model.use.session import Choices, Session

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
Tell = Callable[[str], None]
Hiders = Callable[[Session], Mapping[str, Hider]]


@dataclass(frozen=True)
class Given:
    """What is served, as it was named."""

    model: Path
    permit: Path
    trust: str | None = None
    is_unsigned: bool = False
    permit_key: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Address:
    """Where the page is."""

    port: int
    listen: str = "127.0.0.1"
    is_exposed: bool = False
    names: tuple[str, ...] = ()  # with is_exposed: what browsers call it
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def check(self) -> None:
        """Check that nobody reaches it by accident.

        Raises:
            ValueError: Others would, or TLS is incomplete.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both --tls-cert and --tls-key")
        try:
            is_local = ipaddress.ip_address(self.listen).is_loopback
        except ValueError as e:
            raise ValueError(
                f"--listen: expected an IP address such as 127.0.0.1, got {self.listen}"
            ) from e
        if self.is_exposed and not (self.tls_cert and self.names):
            raise ValueError("--expose needs --tls-cert, --tls-key and --name")
        if not is_local and not self.is_exposed:
            raise ValueError(
                f"{self.listen} can be reached from other machines, and pictures of people would "
                "travel. If you mean that, add --expose, --tls-cert, --tls-key and --name"
            )

    @property
    def hosts(self) -> set[str]:
        """Host headers of browsers; they leave out the usual port."""
        names = {*LOCAL_NAMES, *self.names}
        usual = 80 if self.tls_cert is None else 443
        return {f"{n}:{self.port}" for n in names} | (names if self.port == usual else set())

    def url(self, token: str) -> str:
        """Return what to open. The token stands behind the #, which browsers send nowhere."""
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{(*self.names, '127.0.0.1')[0]}:{self.port}/#{token}"


def open_studio(given: Given, hiders: Hiders, tell: Tell, hidden_side: int) -> Studio:
    """Ask the permit, check the model, and return what reads.

    Raises:
        PermitError: The use is not permitted.
        ModelFileError: The model is not to be trusted, or cannot run.
        FaceModelError: The detector is not there.
        SignatureError: A key cannot be read.
    """
    # (1) is this use permitted?
    permit_keys = read_public_keys(given.permit_key) if given.permit_key else ()
    permit, signer = read_permit(given.permit, datetime.now(UTC), permit_keys)
    # (2) who vouches for the model?
    keys = read_public_keys(given.trust) if given.trust else ()
    session = Session.open(given.model, keys, given.is_unsigned, Choices(), threads=given.threads)
    tell(f"Permitted: {permit.title} (until {permit.valid_until:%Y-%m-%d})")
    for duty in permit.duties:
        tell(f"  your duty: {duty}")
    tell(f"Model: {session.line()}")
    return Studio(session, permit, signer, hiders(session), lambda: datetime.now(UTC), hidden_side)


def serve(studio: Studio, address: Address | None, socket: Path | None, tell: Tell) -> None:
    """Serve a page, a socket or both until Ctrl+C.

    Raises:
        SocketError: The socket cannot be made safely.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if socket is None:
        assert address is not None
        serve_page(studio, address, tell)
        return
    from core_model.serve.rpc import ReaderSocket  # grpcio: only for those who ask for it

    served = ReaderSocket(studio, socket)
    tell(f"gRPC: unix:{socket}")
    try:
        if address is None:
            served.wait()
        else:
            serve_page(studio, address, tell)
    finally:
        served.close()


def serve_page(studio: Studio, address: Address, tell: Tell) -> None:
    """Serve the page until Ctrl+C.

    Raises:
        OSError: The port is taken.
    """
    import uvicorn  # and FastAPI: only for those who ask for the page

    from core_model.serve.page import make_app

    token = secrets.token_urlsafe(24)
    app = make_app(studio, address.hosts, token, tls=address.tls_cert is not None)
    # Before the address is told: its key would go to whoever has the port.
    listener = bound(address)
    tell(f"Open {address.url(token)}")
    tell("Whoever has this address can have pictures read, and sees none of yours. Ctrl+C ends it.")
    config = uvicorn.Config(
        app,
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=32,
        timeout_graceful_shutdown=3,  # a browser keeps its connection open
    )
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def bound(address: Address) -> socketlib.socket:
    """Return a socket that nobody else can have.

    Raises:
        OSError: Another program listens there.
    """
    is_v6 = ipaddress.ip_address(address.listen).version == 6
    listener = socketlib.socket(socketlib.AF_INET6 if is_v6 else socketlib.AF_INET)
    listener.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_REUSEADDR, 1)
    try:
        listener.bind((address.listen, address.port))
        listener.listen()
    except OSError as e:
        listener.close()
        raise OSError(
            f"{address.listen}:{address.port} cannot be listened on ({e.strerror}); "
            "name another with --port"
        ) from e
    return listener


def trusted(named: str | None, usual: Path) -> str | None:
    """Return the file or key to trust: what was named, else the usual file if it is there."""
    return named or (str(usual) if usual.exists() else None)
