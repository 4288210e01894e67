"""A witness over HTTP (C2SP tlog-witness). On loopback by default.

Put a proxy with TLS before it to serve others; requests prove themselves by the log's signature.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

from consent.errors import WitnessError
from consent.witness import MAX_REQUEST_BYTES
from consent.witness_store import Witness

TIMEOUT_S = 10.0
MAX_THREADS = 32


class WitnessServer(ThreadingHTTPServer):
    """Serves ``POST /add-checkpoint`` and ``GET /<SHA-256 of a log's name>/checkpoint``."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        super().__init__(address, _Handler)
        self.witness = witness
        self._free = threading.BoundedSemaphore(MAX_THREADS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or close it while there are too many."""
        if self._free.acquire(timeout=TIMEOUT_S):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: an error may hold what a stranger sent."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "omote-witness", ""
    timeout = TIMEOUT_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            self._answer(HTTPStatus.NOT_FOUND, "no such page\n", close=True)
        elif not length.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed\n", close=True)
        elif len(length) > 9 or int(length) > MAX_REQUEST_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large\n", close=True)
        else:
            self._add_checkpoint(self.rfile.read(int(length)))

    def do_GET(self) -> None:
        note = None
        parts = self.path.split("/")
        if len(parts) == 3 and parts[2] == "checkpoint":
            note = _witness_of(self.server).last_note(parts[1])
        if note is None:
            self._answer(HTTPStatus.NOT_FOUND, "no such page\n")
        else:
            self._answer(HTTPStatus.OK, note)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: names of sites and addresses stay out of log files."""

    def _add_checkpoint(self, body: bytes) -> None:
        try:
            self._answer(HTTPStatus.OK, _witness_of(self.server).add_checkpoint(body))
        except WitnessError as e:
            kind = "text/x.tlog.size" if e.status == HTTPStatus.CONFLICT else "text/plain"
            self._answer(HTTPStatus(e.status), e.body, kind)

    def _answer(
        self, status: HTTPStatus, text: str, kind: str = "text/plain", *, close: bool = False
    ) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header(
            "Content-Type", kind if kind != "text/plain" else "text/plain; charset=utf-8"
        )
        self.send_header("Content-Length", str(len(data)))
        if close:  # the body was not read: the connection cannot go on
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)


def _witness_of(server: BaseServer) -> Witness:
    assert isinstance(server, WitnessServer)
    return server.witness
