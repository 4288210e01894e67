"""Adding a guardian to a minor."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from consent.desk.answers import read_scan
from consent.desk.session import Session
from consent.desk.web import Desk, Desked, Form, Known, SignedIn, Who, go, language_of, text_of
from consent.model import Relation

router = APIRouter(prefix="/person/{handle}/guardian")


@router.get("")
def guardian_page(request: Request, desk: Desked, session: SignedIn, who: Who) -> Response:
    """Show the form."""
    return _guardian(request, desk, session, who, {})


@router.post("")
def add_guardian(
    request: Request, desk: Desked, session: SignedIn, who: Who, form: Form
) -> Response:
    """Link a guardian, who is registered first if not known."""
    t = desk.texts[language_of(request)]
    minor = desk.book.person(who.subject_id)
    outside_id, scan = text_of(form, "guardian_id"), read_scan(form, t)
    known = desk.book.find(outside_id) if outside_id else None
    errors: dict[str, str] = {}
    if not outside_id:
        errors["guardian_id"] = t["too_short"]
    elif known == who.subject_id:
        errors["guardian_id"] = t["guardian_self"]
    elif known is not None and desk.book.person(known).is_minor:
        errors["guardian_id"] = t["guardian_minor"]
    if scan is None:
        errors["scan"] = t["guardian_scan_missing"]
    if errors or scan is None:
        return _guardian(request, desk, session, who, errors)
    if session.take_form(text_of(form, "form")):
        guardian_id = known or desk.book.register(
            session.account, outside_id, Relation.VOLUNTEER, minor.jurisdiction, None
        )
        desk.book.link_guardian(session.account, who.subject_id, guardian_id, scan)
    return go(f"/person/{who.handle}")


def _guardian(
    request: Request, desk: Desk, session: Session, who: Known, errors: dict[str, str]
) -> Response:
    return desk.draw(
        request,
        "guardian.html",
        session=session,
        status=422 if errors else 200,
        who=who,
        form=session.new_form(),
        errors={name: errors.get(name, "") for name in ("guardian_id", "scan")},
    )
