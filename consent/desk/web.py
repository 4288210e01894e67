"""What all pages share: who is signed in, the form that came, and how a page is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData

from consent.desk.accounts import Accounts
from consent.desk.book import Book
from consent.desk.session import Clock, Person, Session, Sessions, Throttle
from consent.desk.texts import LANGUAGES, day_text, load_texts, preferred, time_text

MAX_FIELDS = 60
LANGUAGE_COOKIE = "omote-language"


class SignInError(Exception):
    """Nobody is signed in, or no longer."""


class ForgedFormError(Exception):
    """A form did not carry the token of its session."""


class GoneError(Exception):
    """A handle of another session, or of nobody."""


class BadFormError(Exception):
    """A form that no page of ours sends."""


class Desk:
    """Everything behind the pages."""

    def __init__(self, book: Book, accounts: Accounts, clock: Clock, *, tls: bool) -> None:
        self.book = book
        self.accounts = accounts
        self.sessions = Sessions(clock)
        self.throttle = Throttle(clock)
        self.tls = tls
        self.cookie = "__Host-omote-desk" if tls else "omote-desk"
        self.texts = load_texts()
        self._templates = Environment(
            loader=PackageLoader("consent.desk"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )

    def draw(
        self,
        request: Request,
        template: str,
        *,
        session: Session | None = None,
        status: int = 200,
        language: str | None = None,
        **context: object,
    ) -> HTMLResponse:
        """Draw a page in ``language``, else in the language of this browser."""
        language = language or language_of(request)
        filters = {
            "day": lambda d: day_text(_local(d), language),
            "moment": lambda d: time_text(_local(d), language),
            "code": short_code,
        }
        page = {
            "language": language,
            "languages": LANGUAGES,
            "site": self.book.site,
            "path": request.url.path,
            "account": session.account if session else "",
            "csrf": self.sessions.csrf_of(request.cookies.get(self.cookie, "")),
            "day": day_text(self.book.now(), language),
        }
        environment = self._templates.overlay()
        environment.filters = {**self._templates.filters, **filters}
        html = environment.get_template(template).render(
            t=self.texts[language], page=page, **context
        )
        return HTMLResponse(html, status)

    def set_cookie(self, response: Response, value: str) -> None:
        """Hand out the session's cookie: for this browser session, unseen by scripts."""
        response.set_cookie(
            self.cookie, value, path="/", httponly=True, samesite="strict", secure=self.tls
        )


def desk_of(request: Request) -> Desk:
    """The desk that serves a request."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def signed_in(request: Request) -> Session:
    """The session of a request.

    Raises:
        SignInError: There is none.
    """
    desk = desk_of(request)
    session = desk.sessions.find(request.cookies.get(desk.cookie))
    if session is None or session.account not in desk.accounts.names():
        raise SignInError
    return session


async def checked_form(request: Request) -> FormData:
    """The form of a request, after its token was checked.

    Raises:
        ForgedFormError: The token is missing or of another session.
    """
    desk = desk_of(request)
    form = await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=65_536)
    if not desk.sessions.is_csrf_of(request.cookies.get(desk.cookie), form.get("csrf")):
        raise ForgedFormError
    return form


async def signed_in_form(request: Request, _: Annotated[Session, Depends(signed_in)]) -> FormData:
    """The same, read only if somebody is signed in."""
    return await checked_form(request)


@dataclass(frozen=True)
class Known:
    """The person that an address is about."""

    handle: str
    subject_id: str
    outside_id: str | None


def known_person(handle: str, session: Annotated[Session, Depends(signed_in)]) -> Known:
    """The person of a handle.

    Raises:
        GoneError: This session has no such handle.
    """
    person: Person | None = session.people.get(handle)
    if person is None:
        raise GoneError
    return Known(handle, person.subject_id, person.outside_id)


Desked = Annotated[Desk, Depends(desk_of)]
SignedIn = Annotated[Session, Depends(signed_in)]
Form = Annotated[FormData, Depends(signed_in_form)]
Who = Annotated[Known, Depends(known_person)]


def text_of(form: FormData, name: str) -> str:
    """One text field, without the blanks around it; empty if it did not come."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def language_of(request: Request) -> str:
    """The language that this browser chose, else the one that it prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def go(path: str) -> RedirectResponse:
    """Send the browser on after a form, so that going back sends nothing twice."""
    return RedirectResponse(path, 303)


def short_code(subject_id: str) -> str:
    """The first letters of a subject id: enough to compare two pages by eye."""
    return subject_id[:8]


def _local(moment: date | datetime) -> datetime:
    if isinstance(moment, datetime):
        return moment.astimezone()
    return datetime(moment.year, moment.month, moment.day).astimezone()
