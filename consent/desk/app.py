"""Puts the desk together: pages, their errors, files beside them, and the guard around all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from consent.desk import erase_pages, guardian_pages, pages, person_pages
from consent.desk.guard import MAX_UPLOAD_BYTES, Guard
from consent.desk.web import (
    BadFormError,
    Desk,
    ForgedFormError,
    GoneError,
    SignInError,
    desk_of,
    go,
    language_of,
)
from consent.errors import ConsentError

log = logging.getLogger("omote.desk")
STATIC = {
    "desk.css": "text/css; charset=utf-8",
    "print.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
ERRORS: dict[type[Exception], tuple[int, str]] = {
    ForgedFormError: (403, "error_403"),
    GoneError: (404, "error_gone"),
    BadFormError: (400, "error_400"),
    RequestValidationError: (400, "error_400"),  # its own answer would repeat what was typed
    ConsentError: (500, "error_log"),
    Exception: (500, "error_desk"),  # the guard tells the log its kind and place
}


def make_app(desk: Desk, hosts: Iterable[str]) -> Guard:
    """Return the whole application. ``hosts`` are the names, with port, that it answers to."""
    # A scan of a signed form must not touch the disk: it is hashed and forgotten.
    MultiPartParser.spool_max_size = MAX_UPLOAD_BYTES
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    for pages_of in (pages, guardian_pages, erase_pages, person_pages):
        app.include_router(pages_of.router)
    for name, media_type in STATIC.items():
        app.get(f"/static/{name}")(_file(name, media_type))
    for kind in ERRORS:
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(SignInError, _on_nobody)
    return Guard(app, hosts, tls=desk.tls)


def _file(name: str, media_type: str) -> Callable[[], Response]:
    data = (resources.files("consent.desk") / "static" / name).read_bytes()

    def serve() -> Response:
        return Response(data, media_type=media_type)

    return serve


def _on_error(request: Request, error: Exception) -> Response:
    status, text = next(found for kind, found in ERRORS.items() if isinstance(error, kind))
    if text == "error_log":
        log.error("the consent log did not take an entry: %s", type(error).__name__)
    return _error_page(request, status, text)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "error_404" if error.status_code == 404 else "error_400"
    return _error_page(request, error.status_code, text)


def _on_nobody(request: Request, _: Exception) -> Response:
    had_cookie = desk_of(request).cookie in request.cookies and request.url.path != "/"
    return go("/login?why=ended" if had_cookie else "/login")


def _error_page(request: Request, status: int, text: str) -> Response:
    desk = desk_of(request)
    message = desk.texts[language_of(request)][text]
    return desk.draw(request, "error.html", status=status, message=message)
