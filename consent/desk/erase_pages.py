"""Erasing a person. It takes the data-protection officer's key and cannot be undone."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.background import BackgroundTask

from consent.desk.session import Person, Session
from consent.desk.web import Desk, Desked, Form, Known, SignedIn, Who, go, language_of, text_of
from consent.errors import KeyFileError

router = APIRouter(prefix="/person/{handle}/erase")
GROUNDS = {  # of the page: what the log says
    "withdrawn": "GDPR 17(1)(b)",
    "not_needed": "GDPR 17(1)(a)",
    "unlawful": "GDPR 17(1)(d)",
    "appi": "APPI 35",
}


@router.get("")
def erase_page(request: Request, desk: Desked, session: SignedIn, who: Who) -> Response:
    """Say what erasing does and does not, and ask for the ground."""
    if desk.book.person(who.subject_id).is_erased:
        return go(f"/person/{who.handle}")
    return _erase(request, desk, session, who)


@router.post("")
def erase(request: Request, desk: Desked, session: SignedIn, who: Who, form: Form) -> Response:
    """Erase, if a ground was chosen and the box was ticked."""
    t = desk.texts[language_of(request)]
    ground, suppress = text_of(form, "ground"), bool(text_of(form, "suppress"))
    if desk.book.person(who.subject_id).is_erased:
        return go(f"/person/{who.handle}")
    if ground not in GROUNDS or not text_of(form, "sure"):
        return _erase(request, desk, session, who, t["erase_incomplete"], ground, suppress)
    if not session.take_form(text_of(form, "form")):
        return go(f"/person/{who.handle}")
    try:
        desk.book.erase(session.account, who.subject_id, GROUNDS[ground], suppress=suppress)
    except KeyFileError:
        return _erase(request, desk, session, who, t["erase_no_key"], ground, suppress)
    session.people[who.handle] = Person(who.subject_id, None)  # nor does this desk know more
    response = go(f"/person/{who.handle}")
    response.background = BackgroundTask(desk.book.clean_up)
    return response


def _erase(
    request: Request,
    desk: Desk,
    session: Session,
    who: Known,
    error: str = "",
    ground: str = "",
    suppress: bool = False,
) -> Response:
    return desk.draw(
        request,
        "erase.html",
        session=session,
        status=422 if error else 200,
        who=who,
        form=session.new_form(),
        error=error,
        ground=ground,
        grounds=GROUNDS,
        suppress=suppress,
    )
