"""What every request passes first: is it meant for this desk, small enough, sent from its own page?

It also sets the headers of every answer, and sees to it that an error tells the log its kind and
place, never its message: a message may hold what someone typed.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("omote.desk")
MAX_FORM_BYTES = 65_536
MAX_UPLOAD_BYTES = 20_971_520  # a scan of a signed form
TOO_LARGE = "The form is too large."
UPLOAD_TYPE = "multipart/form-data"
HEADERS = {
    # Own style sheet and the one script that opens the print dialogue; nothing from elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # no-referrer would take the Origin from our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class _TooLargeError(Exception):
    """A body went on beyond its limit."""


class Guard:
    """Wraps the whole application. ``hosts`` are the names it answers to, with port."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, tls: bool) -> None:
        self._app = app
        self._hosts = frozenset(h.lower() for h in hosts)
        self._scheme = "https" if tls else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = _Answer(send, tls=self._scheme == "https")
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await refusal(scope, receive, answer.send_own)
            return
        try:
            await self._app(scope, _limited(receive, _limit(headers), answer), answer.send)
        except _TooLargeError:
            await PlainTextResponse(TOO_LARGE, 413)(scope, receive, answer.send_own)
        except Exception as e:  # noqa: BLE001 - whatever it is, its message must not be logged
            last = traceback.extract_tb(e.__traceback__)[-1]
            log.error("%s at %s:%s", type(e).__name__, last.filename, last.lineno)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        # (1) asked for by a name of ours: a foreign name that points here is DNS rebinding
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return PlainTextResponse("This desk does not answer to that name.", 421)
        if method not in {"GET", "HEAD", "POST"}:
            return PlainTextResponse("Only GET and POST.", 405)
        if method == "POST":
            # (2) sent from a page of ours, as far as the browser tells
            origin = headers.get("origin", f"{self._scheme}://{host}")
            site = headers.get("sec-fetch-site", "same-origin")
            if urlsplit(origin)[:2] != (self._scheme, host) or site not in {"same-origin", "none"}:
                return PlainTextResponse("This form came from another site.", 403)
            # (3) no larger than a form of ours
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > _limit(headers):
                return PlainTextResponse(TOO_LARGE, 413)
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


def _limit(headers: Headers) -> int:
    is_upload = headers.get("content-type", "").startswith(UPLOAD_TYPE)
    return MAX_UPLOAD_BYTES if is_upload else MAX_FORM_BYTES


def _limited(receive: Receive, limit: int, answer: _Answer) -> Receive:
    num_bytes = 0

    async def counted() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > limit:
            answer.is_taken_over = True
            raise _TooLargeError
        return message

    return counted
