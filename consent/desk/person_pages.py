"""Pages about one person: how things stand, asking, the confirmation, withdrawing, guardians."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from starlette.background import BackgroundTask

from consent.desk.answers import ASSENTS, KINDS, TERMS, Filled, read_answers
from consent.desk.book import Answers, Question, in_months
from consent.desk.session import Session
from consent.desk.texts import LANGUAGES
from consent.desk.views import NoticeView
from consent.desk.web import (
    BadFormError,
    Desk,
    Desked,
    Form,
    GoneError,
    Known,
    SignedIn,
    Who,
    go,
    language_of,
    text_of,
)
from consent.errors import RecordError
from consent.model import ConsentKind, Purpose

router = APIRouter(prefix="/person/{handle}")
RECEIPT_POLICY = (  # the page is one file with its own style, so that it can be sent and kept
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("")
def show(request: Request, desk: Desked, session: SignedIn, who: Who) -> Response:
    """Show how things stand and what happened."""
    return desk.draw(
        request,
        "person.html",
        session=session,
        who=who,
        person=desk.book.person(who.subject_id),
        notices=desk.book.notices(),
    )


@router.get("/ask")
def ask(request: Request, desk: Desked, session: SignedIn, who: Who, notice: str = "") -> Response:
    """Show a notice, and a question for each of its purposes."""
    if not desk.book.person(who.subject_id).can_be_asked:
        return go(f"/person/{who.handle}")
    return _ask(request, desk, session, who, _choose(desk, request, notice), Filled())


@router.post("/ask")
def answer(request: Request, desk: Desked, session: SignedIn, who: Who, form: Form) -> Response:
    """Record what was answered: every question, or that nothing was answered yet."""
    person = desk.book.person(who.subject_id)
    if not person.can_be_asked:
        return go(f"/person/{who.handle}")
    shown = _choose(desk, request, text_of(form, "notice"))
    t = desk.texts[_language(shown, request)]
    if shown.ref.sha256 != text_of(form, "sha256"):
        return _ask(request, desk, session, who, shown, Filled(), t["notice_changed"])
    is_later = bool(text_of(form, "later"))
    filled = read_answers(form, person, shown, t)
    if not is_later and not filled.is_good:
        return _ask(request, desk, session, who, shown, filled)
    if not session.take_form(text_of(form, "form")):
        return go(f"/person/{who.handle}")
    if is_later:
        index = desk.book.record_shown(session.account, who.subject_id, shown)
    else:
        answers = _answers(desk, shown, filled, session.account, t)
        index = desk.book.record(who.subject_id, answers)
    response = go(f"/person/{who.handle}/entry/{index}")
    if not is_later and not all(filled.answers.values()):  # a refusal takes back what was given
        response.background = BackgroundTask(desk.book.clean_up)
    return response


@router.get("/entry/{index}")
def entry(request: Request, desk: Desked, session: SignedIn, who: Who, index: int) -> Response:
    """Show the confirmation of one answer, to be printed."""
    try:
        found = desk.book.entry(who.subject_id, index)
    except KeyError as e:
        raise GoneError from e
    return desk.draw(
        request,
        "entry.html",
        session=session,
        who=who,
        entry=found,
        head=desk.book.head(),
        traces=desk.book.traces(who.subject_id) if found.withdrawn else None,
    )


@router.get("/entry/{index}/receipt")
def receipt(request: Request, desk: Desked, who: Who, index: int) -> Response:
    """Show the signed receipt of one entry, with its proof."""
    try:
        page = desk.book.receipt(who.subject_id, index, language_of(request))
    except RecordError as e:
        raise GoneError from e
    return HTMLResponse(page, headers={"Content-Security-Policy": RECEIPT_POLICY})


@router.get("/withdraw")
def withdraw_page(
    request: Request, desk: Desked, session: SignedIn, who: Who, purpose: Purpose | None = None
) -> Response:
    """Say what a withdrawal does and does not; the second click is on this page."""
    chosen = desk.book.person(who.subject_id).withdrawable if purpose is None else (purpose,)
    return _withdraw(request, desk, session, who, chosen, "")


@router.post("/withdraw")
def withdraw(request: Request, desk: Desked, session: SignedIn, who: Who, form: Form) -> Response:
    """Record a withdrawal."""
    offered = desk.book.person(who.subject_id).withdrawable
    chosen = tuple(p for p in offered if p.value in form.getlist("purpose"))
    if not chosen:
        error = desk.texts[language_of(request)][
            "withdraw_pick" if offered else "nothing_to_withdraw"
        ]
        return _withdraw(request, desk, session, who, (), error)
    if not session.take_form(text_of(form, "form")):
        return go(f"/person/{who.handle}")
    index = desk.book.withdraw(session.account, who.subject_id, chosen)
    response = go(f"/person/{who.handle}/entry/{index}")
    response.background = BackgroundTask(desk.book.clean_up)
    return response


def _choose(desk: Desk, request: Request, key: str) -> NoticeView:
    """The notice of a key; without one, the first in the language of this browser."""
    notices = desk.book.notices()
    if key:
        for notice in notices:
            if notice.key == key:
                return notice
        raise BadFormError("notice")
    if not notices:
        raise GoneError
    liked = [n for n in notices if n.ref.language == language_of(request)]
    return (liked or list(notices))[0]


def _ask(
    request: Request,
    desk: Desk,
    session: Session,
    who: Known,
    shown: NoticeView,
    filled: Filled,
    message: str = "",
) -> Response:
    return desk.draw(
        request,
        "ask.html",
        session=session,
        status=200 if filled.is_good and not message else 422,
        language=_language(shown, request),
        who=who,
        person=desk.book.person(who.subject_id),
        notices=desk.book.notices(),
        languages=LANGUAGES,
        shown=shown,
        filled=filled,
        message=message,
        form=session.new_form(),
        kinds=KINDS,
        terms=TERMS,
        assents=ASSENTS,
        territory=desk.book.territory,
    )


def _withdraw(
    request: Request,
    desk: Desk,
    session: Session,
    who: Known,
    chosen: tuple[Purpose, ...],
    error: str,
) -> Response:
    return desk.draw(
        request,
        "withdraw.html",
        session=session,
        status=422 if error else 200,
        who=who,
        person=desk.book.person(who.subject_id),
        chosen=chosen,
        error=error,
        form=session.new_form(),
    )


def _answers(
    desk: Desk, shown: NoticeView, filled: Filled, account: str, t: Mapping[str, str]
) -> Answers:
    return Answers(
        notice=shown,
        questions=tuple(
            Question(p, t[f"purpose_{p.value}"], t[f"about_{p.value}"], is_agreed)
            for p, is_agreed in filled.answers.items()
        ),
        kind=filled.kind or ConsentKind.EXPLICIT,
        ends=in_months(desk.book.now(), filled.months),
        scan=filled.scan,
        conditions=filled.conditions,
        account=account,
        guardian_id=filled.guardian_id,
        assent=filled.assent or "given",
    )


def _language(shown: NoticeView, request: Request) -> str:
    """A person reads the questions in the language of the notice, if the desk speaks it."""
    code = shown.ref.language[:2]
    return code if code in LANGUAGES else language_of(request)
