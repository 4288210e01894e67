"""What the desk asks of the registry and writes to it, one thing at a time.

The evidence for an answer is the scan of the signed form if there is one; else the answer sheet:
which questions were shown in which words, and what was answered. A sheet names no person: only the
sealed log entry tells whose it is, so erasing the person leaves a sheet of nobody.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

from consent import private_file
from consent.desk.session import Clock
from consent.desk.views import (
    EntryView,
    NoticeView,
    PersonView,
    TodayView,
    TracesView,
    entry_view,
    notice_views,
    person_view,
    today_view,
    traces_view,
)
from consent.envelope import canonical_json
from consent.errors import HookError
from consent.events import ConsentEvent
from consent.hooks import after_withdrawal
from consent.model import Conditions, ConsentKind, Grant, Purpose, Relation, Role
from consent.receipt_page import render_page
from consent.receipts import issue
from consent.registry import Registry
from consent.roles import NARROWING, WITHDRAWERS
from consent.subject_events import (
    ConsentGiven,
    ConsentRefused,
    ConsentRequested,
    ConsentWithdrawn,
    GuardianLinked,
)

log = logging.getLogger("omote.desk")
EVIDENCE = "evidence"  # folder of answer sheets, beside the log


@dataclass(frozen=True)
class Question:
    """One question as it stood on the page, and the answer."""

    purpose: Purpose
    title: str
    text: str
    is_agreed: bool


@dataclass(frozen=True)
class Answers:
    """All that a person answered on one page."""

    notice: NoticeView
    questions: tuple[Question, ...]
    kind: ConsentKind
    ends: datetime
    scan: str | None  # SHA-256 of the signed form
    account: str  # who was at the desk
    conditions: Conditions = field(default_factory=Conditions)  # of every agreement
    guardian_id: str | None = None
    assent: Literal["given", "not_capable"] = "given"

    def of(self, *, agreed: bool) -> tuple[Purpose, ...]:
        """The purposes agreed to, or the others."""
        return tuple(q.purpose for q in self.questions if q.is_agreed is agreed)


@dataclass(frozen=True)
class Head:
    """The log's newest tree head, as it is printed."""

    size: int
    root: str


class Book:
    """The registry behind a lock: pages are served by several threads, and the state grows."""

    def __init__(self, registry: Registry, folder: Path, clock: Clock) -> None:
        self._registry = registry
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self.site = registry.site
        described = registry.state().site
        self.territory = described.event.territory if described else None
        self.needs_clean_up = False

    def now(self) -> datetime:
        """The time at the desk, in its own zone."""
        return self._clock().astimezone()

    def find(self, outside_id: str) -> str | None:
        """Return the subject of an outside id."""
        with self._lock:
            return self._registry.find(outside_id)

    def register(
        self,
        account: str,
        outside_id: str,
        relation: Relation,
        jurisdiction: str,
        adult_from: date | None,
    ) -> str:
        """Register a person who is not known yet; return the subject id."""
        with self._lock:
            event = self._registry.registration(outside_id, relation, jurisdiction, adult_from)
            self._write(account, event)
        return event.subject_id

    def person(self, subject_id: str) -> PersonView:
        """What the page of a person shows.

        Raises:
            KeyError: There is no such person.
        """
        with self._lock:
            return person_view(self._registry.state(), subject_id, self._clock())

    def entry(self, subject_id: str, index: int) -> EntryView:
        """What a confirmation shows.

        Raises:
            KeyError: Entry ``index`` is not an answer of this person.
        """
        with self._lock:
            return entry_view(self._registry.state(), subject_id, index)

    def notices(self) -> tuple[NoticeView, ...]:
        """The texts that can be shown now."""
        with self._lock:
            return notice_views(self._registry.state())

    def today(self) -> TodayView:
        """What the first page shows."""
        now = self.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        with self._lock:
            return today_view(self._registry.state(), now, midnight)

    def head(self) -> Head:
        """The newest tree head."""
        with self._lock:
            lines = self._registry.snapshot().tree_head.split("\n")
        return Head(int(lines[1]), base64.b64decode(lines[2]).hex())

    def record(self, subject_id: str, answers: Answers) -> int:
        """Write all answers of a page in one step; return the index of the first entry."""
        agreed, refused = answers.of(agreed=True), answers.of(agreed=False)
        notice = answers.notice.ref
        with self._lock:
            events: list[ConsentEvent] = []
            if agreed:
                events.append(self._given(subject_id, answers, agreed))
            if refused:
                events.append(
                    ConsentRefused(subject_id=subject_id, purposes=refused, notice=notice)
                )
            return self._write(answers.account, *events)

    def record_shown(self, account: str, subject_id: str, notice: NoticeView) -> int:
        """Write that a notice was shown and nothing was answered yet."""
        event = ConsentRequested(subject_id=subject_id, purposes=notice.purposes, notice=notice.ref)
        with self._lock:
            return self._write(account, event)

    def withdraw(self, account: str, subject_id: str, purposes: tuple[Purpose, ...]) -> int:
        """Write a withdrawal; return its index."""
        with self._lock:
            return self._write(account, ConsentWithdrawn(subject_id=subject_id, purposes=purposes))

    def erase(self, account: str, subject_id: str, ground: str, *, suppress: bool) -> int:
        """Make everything about a person unreadable, for good; return the index of the entry.

        Raises:
            KeyFileError: The data-protection officer's key is not at this desk.
        """
        with self._lock:
            by = self._registry.account_id(account)
            return self._registry.erase(subject_id, ground, suppress=suppress, desk=by)

    def traces(self, subject_id: str) -> TracesView:
        """Where the person's data had a part, and what was done about it."""
        with self._lock:
            return traces_view(self._registry.state(), subject_id)

    def receipt(self, subject_id: str, index: int, language: str) -> str:
        """Return the signed receipt of an entry, as a page to print.

        Raises:
            RecordError: Entry ``index`` is not an answer of this person.
        """
        with self._lock:
            receipt = issue(self._registry, subject_id, index)
        return render_page(receipt, language)

    def clean_up(self) -> None:
        """Run what the site does at once after a withdrawal. It can take minutes.

        ``needs_clean_up`` tells from then on whether it went wrong.
        """
        try:
            after_withdrawal(self._folder)
            self.needs_clean_up = False
        except HookError as e:
            self.needs_clean_up = True
            log.error("%s", e)  # names a program, no person

    def link_guardian(self, account: str, subject_id: str, guardian_id: str, evidence: str) -> None:
        """Write that someone was shown to be a minor's guardian."""
        event = GuardianLinked(subject_id=subject_id, guardian_id=guardian_id, evidence=evidence)
        with self._lock:
            self._write(account, event)

    def _write(self, account: str, *events: ConsentEvent) -> int:
        """Write events in one step, each with who was at the desk; return the first index.

        What takes consent back is signed by whoever has a key here; a registrar's is not needed.
        """
        by = self._registry.account_id(account)
        stamped = [event.model_copy(update={"desk": by}) for event in events]
        narrows = all(event.type in NARROWING for event in stamped)
        signers = WITHDRAWERS if narrows else (Role.REGISTRAR,)
        return self._registry.journal.append(stamped, signers).start

    def _given(
        self, subject_id: str, answers: Answers, agreed: tuple[Purpose, ...]
    ) -> ConsentGiven:
        history = self._registry.state().subjects[subject_id].history
        was_given = any(isinstance(entry.event, ConsentGiven) for entry in history)
        return ConsentGiven(
            type="consent.renewed" if was_given else "consent.given",
            subject_id=subject_id,
            grants=tuple(
                Grant(purpose=p, expires_at=answers.ends, conditions=answers.conditions)
                for p in agreed
            ),
            notice=answers.notice.ref,
            kind=answers.kind,
            evidence=answers.scan or self._keep_sheet(answers),
            guardian_id=answers.guardian_id,
            assent=answers.assent,
        )

    def _keep_sheet(self, answers: Answers) -> str:
        """Write an answer sheet, readable by its owner alone; return its SHA-256."""
        body = canonical_json(_sheet(answers, self._clock()))
        digest = hashlib.sha256(body).hexdigest()
        folder = self._folder / EVIDENCE
        folder.mkdir(mode=0o700, exist_ok=True)
        private_file.write_new(folder / f"{digest}.json", body)
        return digest


def _sheet(answers: Answers, at: datetime) -> Mapping[str, object]:
    return {
        "v": 1,
        "salt": secrets.token_hex(16),  # equal answers make different sheets
        "time": int(at.timestamp()),
        "account": answers.account,
        "notice": answers.notice.ref.model_dump(mode="json"),
        "kind": answers.kind.value,
        "ends": int(answers.ends.timestamp()),
        "conditions": answers.conditions.model_dump(mode="json"),
        "questions": [
            {
                "purpose": q.purpose.value,
                "title": q.title,
                "text": q.text,
                "answer": "agree" if q.is_agreed else "disagree",
            }
            for q in answers.questions
        ],
    }


def in_months(start: datetime, months: int) -> datetime:
    """Return the same day some months later, or the last day of that month."""
    years, month = divmod(start.month - 1 + months, 12)
    first = start.replace(year=start.year + years, month=month + 1, day=1)
    next_first = (first + timedelta(days=31)).replace(day=1)
    return min(first + timedelta(days=start.day - 1), next_first - timedelta(days=1))
