"""What every request passes first: is it for this page, from this page, from whoever was let in?

It also bounds what is sent, sets the headers of every answer, and sees to it that an error tells
the log its kind and place, never its message.
"""

from __future__ import annotations

import hmac
import logging
import traceback
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_model.serve.studio import MAX_PICTURE_BYTES

log = logging.getLogger("omote.serve")
CODES = {"name": 421, "method": 405, "origin": 403, "token": 401, "too_large": 413}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class _TooLargeError(Exception):
    """A body went on beyond its limit."""


class Guard:
    """Wraps the whole application.

    Args:
        app: What is wrapped.
        hosts: Names that it answers to, with port.
        token: What whoever may send pictures knows.
        open_paths: Paths that need no token; they hold nothing of anyone.
        tls: Is it served by https?
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], token: str, open_paths: Iterable[str], *,
        tls: bool,
    ) -> None:  # fmt: skip
        self._app = app
        self._hosts = frozenset(h.lower() for h in hosts)
        self._bearer = f"Bearer {token}".encode()
        self._open_paths = frozenset(open_paths)
        self._scheme = "https" if tls else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = _Answer(send, tls=self._scheme == "https")
        code = self._refusal(scope, Headers(scope=scope))
        try:
            if code is None:
                await self._app(scope, _limited(receive, answer), answer.send)
        except _TooLargeError:
            code = "too_large"
        except Exception as e:  # noqa: BLE001 - whatever it is, its message must not be logged
            last = traceback.extract_tb(e.__traceback__)[-1]
            log.error("%s at %s:%s", type(e).__name__, last.filename, last.lineno)
        if code is not None:
            refusal = JSONResponse({"problem": code}, CODES[code])
            await refusal(scope, receive, answer.send_own)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        # (1) asked for by a name of ours: a foreign name that points here is DNS rebinding
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return "name"
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return "method"
        if scope["method"] == "POST":
            # (2) sent from a page of ours, as far as the browser tells
            origin = headers.get("origin", f"{self._scheme}://{host}")
            site = headers.get("sec-fetch-site", "same-origin")
            if urlsplit(origin)[:2] != (self._scheme, host) or site not in {"same-origin", "none"}:
                return "origin"
        # (3) by someone who saw the address that was printed. Another user of this machine did not
        given = headers.get("authorization", "").encode()
        if scope["path"] not in self._open_paths and not hmac.compare_digest(given, self._bearer):
            return "token"
        # (4) no larger than a picture
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_PICTURE_BYTES:
            return "too_large"
        return None


class _Answer:
    """Sends an answer with our headers."""

    def __init__(self, send: Send, *, tls: bool) -> None:
        self._send = send
        self._tls = tls
        self.is_taken_over = False  # what the application still sends is dropped

    async def send(self, message: Message) -> None:
        if not self.is_taken_over:
            await self.send_own(message)

    async def send_own(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._tls:
                headers["Strict-Transport-Security"] = "max-age=31536000"
        await self._send(message)


def _limited(receive: Receive, answer: _Answer) -> Receive:
    num_bytes = 0

    async def counted() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_PICTURE_BYTES:
            answer.is_taken_over = True
            raise _TooLargeError
        return message

    return counted
