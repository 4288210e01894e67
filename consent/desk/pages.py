"""Pages of the desk that are not about one person: signing in, today, finding, registering."""

from __future__ import annotations

import secrets
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from consent.desk.session import Person
from consent.desk.texts import LANGUAGES
from consent.desk.web import (
    LANGUAGE_COOKIE,
    Desked,
    Form,
    SignedIn,
    checked_form,
    go,
    language_of,
    signed_in_form,
    text_of,
)
from consent.model import Relation

router = APIRouter()
PLACES = ("JP", "EU", "DE", "FR", "IT", "GB", "CH", "US", "US-IL")


@router.get("/login")
def sign_in_page(request: Request, desk: Desked, why: str = "") -> Response:
    """Show the form to sign in, under a cookie that is good for nothing else."""
    t = desk.texts[language_of(request)]
    message = {"ended": t["session_ended"], "out": t["signed_out"]}.get(why, "")
    if request.cookies.get(desk.cookie):
        return desk.draw(request, "login.html", message=message, is_error=False)
    request.cookies[desk.cookie] = cookie = secrets.token_urlsafe(32)
    response = desk.draw(request, "login.html", message=message, is_error=False)
    desk.set_cookie(response, cookie)
    return response


@router.post("/login")
def sign_in(
    request: Request, desk: Desked, form: Annotated[FormData, Depends(checked_form)]
) -> Response:
    """Check name and password; a right one gets a new cookie."""
    t = desk.texts[language_of(request)]
    account, password = text_of(form, "account"), form.get("password", "")
    if wait_s := desk.throttle.wait_s(account):
        message = t["wait_login"].format(seconds=wait_s)
        page = desk.draw(request, "login.html", status=429, message=message, is_error=True)
        page.headers["Retry-After"] = str(wait_s)
        return page
    if not isinstance(password, str) or not desk.accounts.is_right(account, password):
        desk.throttle.wrong(account)
        message = t["wrong_login"]
        return desk.draw(request, "login.html", status=403, message=message, is_error=True)
    desk.throttle.right(account)
    desk.sessions.end(request.cookies.get(desk.cookie))
    response = go("/")
    desk.set_cookie(response, desk.sessions.begin(account))
    return response


@router.post("/logout", dependencies=[Depends(signed_in_form)])
def sign_out(request: Request, desk: Desked) -> Response:
    """End the session, here and not only in the browser."""
    desk.sessions.end(request.cookies.get(desk.cookie))
    response = go("/login?why=out")
    response.delete_cookie(desk.cookie, path="/", httponly=True, samesite="strict", secure=desk.tls)
    return response


@router.post("/language")
def choose_language(form: Annotated[FormData, Depends(checked_form)], desk: Desked) -> Response:
    """Remember a language in the browser and go back to the page, if it is one of ours."""
    back = text_of(form, "back")
    response = go(back if back.startswith("/") and back[1:2] not in ("/", "\\") else "/")
    if (to := text_of(form, "to")) in LANGUAGES:
        response.set_cookie(
            LANGUAGE_COOKIE, to, 31_536_000, httponly=True, samesite="strict", secure=desk.tls
        )
    return response


@router.get("/")
def today(request: Request, desk: Desked, session: SignedIn) -> Response:
    """Show the counts of today and what waits."""
    return _today(request, desk, session, "")


@router.post("/find")
def find(request: Request, desk: Desked, session: SignedIn, form: Form) -> Response:
    """Find a person by outside id. It comes in the form and goes into no address."""
    outside_id = text_of(form, "outside_id")
    if not outside_id:
        t = desk.texts[language_of(request)]
        return _today(request, desk, session, t["too_short"])
    subject_id = desk.book.find(outside_id)
    if subject_id is None:
        return desk.draw(
            request, "missing.html", session=session, status=404, outside_id=outside_id
        )
    return go(f"/person/{session.handle_of(Person(subject_id, outside_id))}")


@router.get("/new")
def new_page(request: Request, desk: Desked, session: SignedIn) -> Response:
    """Show the form to register a person."""
    return _new(request, desk, session, {}, {})


@router.post("/new/prepare")
def new_page_for(request: Request, desk: Desked, session: SignedIn, form: Form) -> Response:
    """Show the same form with an outside id that was looked for in vain."""
    return _new(request, desk, session, {"outside_id": text_of(form, "outside_id")}, {})


@router.post("/new")
def register(request: Request, desk: Desked, session: SignedIn, form: Form) -> Response:
    """Register a person, or open the page of one who is known already."""
    t = desk.texts[language_of(request)]
    names = ("outside_id", "relation", "jurisdiction", "age", "adult_from")
    filled = {name: text_of(form, name) for name in names}
    errors: dict[str, str] = {}
    if not filled["outside_id"]:
        errors["outside_id"] = t["too_short"]
    if filled["relation"] not in {r.value for r in Relation}:
        errors["relation"] = t["choose_one"]
    if filled["jurisdiction"] not in PLACES:
        errors["jurisdiction"] = t["choose_one"]
    if filled["age"] not in {"adult", "minor"}:
        errors["age"] = t["choose_one"]
    adult_from = _day(filled["adult_from"]) if filled["age"] == "minor" else None
    if filled["age"] == "minor" and (adult_from is None or adult_from <= desk.book.now().date()):
        errors["adult_from"] = t["bad_day"]
    if errors:
        return _new(request, desk, session, filled, errors)
    subject_id = desk.book.find(filled["outside_id"]) or desk.book.register(
        session.account,
        filled["outside_id"],
        Relation(filled["relation"]),
        filled["jurisdiction"],
        adult_from,
    )
    return go(f"/person/{session.handle_of(Person(subject_id, filled['outside_id']))}")


def _today(request: Request, desk: Desked, session: SignedIn, error: str) -> Response:
    return desk.draw(
        request,
        "today.html",
        session=session,
        status=422 if error else 200,
        day=desk.book.today(),
        needs_clean_up=desk.book.needs_clean_up,
        error=error,
        handle=lambda subject_id: session.handle_of(Person(subject_id, None)),
    )


def _new(
    request: Request,
    desk: Desked,
    session: SignedIn,
    filled: dict[str, str],
    errors: dict[str, str],
) -> Response:
    names = ("outside_id", "relation", "jurisdiction", "age", "adult_from")
    return desk.draw(
        request,
        "new.html",
        session=session,
        status=422 if errors else 200,
        filled={name: filled.get(name, "") for name in names},
        errors={name: errors.get(name, "") for name in names},
        relations=[r.value for r in Relation],
        places=PLACES,
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
