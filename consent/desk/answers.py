"""Reads the answers of one page. Says what is missing; fills in nothing by itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.datastructures import FormData, UploadFile

from consent.desk.views import NoticeView, PersonView
from consent.desk.web import BadFormError, text_of
from consent.model import TERRITORY, Conditions, ConsentKind, Purpose

TERMS = (6, 12, 24, 36)  # months; Illinois allows no more than 36
USUAL_TERM = 12
KINDS = (ConsentKind.EXPLICIT, ConsentKind.WRITTEN_RELEASE)
WRITTEN_ONLY = frozenset({"US-IL"})  # 740 ILCS 14/15(b): a written release
ASSENTS: tuple[Literal["given", "not_capable"], ...] = ("given", "not_capable")
NO_LIMITS = Conditions()
LIMITS = ("max_rounds", "max_epsilon", "territories")
_ROUNDS = re.compile("[1-9][0-9]{0,5}")
_EPSILON = re.compile(r"(?=.*[1-9])[0-9]{1,4}(\.[0-9]{1,6})?")
_SCANS = (b"%PDF-", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass
class Filled:
    """A page of answers as far as it was filled in, and what is wrong with it."""

    answers: dict[Purpose, bool] = field(default_factory=dict)
    kind: ConsentKind | None = None
    limits: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(LIMITS, ""))
    conditions: Conditions = NO_LIMITS
    months: int = USUAL_TERM
    scan: str | None = None  # SHA-256
    guardian_id: str | None = None
    assent: Literal["given", "not_capable"] | None = None
    unanswered: list[Purpose] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)  # by field

    @property
    def is_good(self) -> bool:
        """Can it be recorded?"""
        return not self.unanswered and not self.errors


def read_answers(
    form: FormData, person: PersonView, shown: NoticeView, t: Mapping[str, str]
) -> Filled:
    """Read a page. Refusing everything needs nothing but the answers.

    Raises:
        BadFormError: A field holds what the page does not offer.
    """
    filled = Filled(scan=read_scan(form, t))
    for purpose in shown.purposes:
        value = _one_of(form, f"answer_{purpose.value}", ("yes", "no"))
        if value is None:
            filled.unanswered.append(purpose)
        else:
            filled.answers[purpose] = value == "yes"
    kind = _one_of(form, "kind", [k.value for k in KINDS])
    filled.kind = ConsentKind(kind) if kind else None
    filled.months = int(_one_of(form, "months", [str(m) for m in TERMS]) or USUAL_TERM)
    filled.guardian_id = _one_of(form, "guardian", person.guardians)
    assent = _one_of(form, "assent", ASSENTS)
    filled.assent = next((a for a in ASSENTS if a == assent), None)
    filled.limits = {name: text_of(form, name) for name in LIMITS}
    if any(filled.answers.values()):
        filled.errors = _lacking(filled, person, t) | _bad_limits(filled.limits, t)
        if not filled.errors:
            filled.conditions = _conditions(filled.limits)
    return filled


def read_scan(form: FormData, t: Mapping[str, str]) -> str | None:
    """Return the SHA-256 of an uploaded scan; None if none came. Nothing of it is kept.

    Raises:
        BadFormError: It is no PDF, PNG or JPEG.
    """
    scan = form.get("scan")
    if not isinstance(scan, UploadFile) or not scan.size:
        return None
    if not scan.file.read(16).startswith(_SCANS):
        raise BadFormError(t["scan_help"])
    scan.file.seek(0)
    return hashlib.sha256(scan.file.read()).hexdigest()


def _lacking(filled: Filled, person: PersonView, t: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    if person.is_minor and filled.guardian_id is None:
        errors["guardian"] = t["guardian_missing"]
    if person.is_minor and filled.assent is None:
        errors["assent"] = t["assent_missing"]
    if filled.kind is None:
        errors["kind"] = t["kind_missing"]
    elif person.jurisdiction in WRITTEN_ONLY and filled.kind is not ConsentKind.WRITTEN_RELEASE:
        errors["kind"] = t["release_needed"]
    if filled.kind is ConsentKind.WRITTEN_RELEASE and filled.scan is None:
        errors["scan"] = t["scan_missing"]
    return errors


def _bad_limits(limits: Mapping[str, str], t: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    if limits["max_rounds"] and not _ROUNDS.fullmatch(limits["max_rounds"]):
        errors["max_rounds"] = t["bad_rounds"]
    if limits["max_epsilon"] and not _EPSILON.fullmatch(limits["max_epsilon"]):
        errors["max_epsilon"] = t["bad_epsilon"]
    if not all(re.fullmatch(TERRITORY, place) for place in _places(limits)):
        errors["territories"] = t["bad_places"]
    return errors


def _conditions(limits: Mapping[str, str]) -> Conditions:
    rounds = int(limits["max_rounds"]) if limits["max_rounds"] else None
    epsilon = limits["max_epsilon"] or None
    return Conditions(max_rounds=rounds, max_epsilon=epsilon, territories=_places(limits))


def _places(limits: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(set(limits["territories"].upper().replace(",", " ").split())))


def _one_of(form: FormData, name: str, offered: list[str] | tuple[str, ...]) -> str | None:
    values = form.getlist(name)
    if not values or values == [""]:
        return None
    if len(values) > 1 or values[0] not in offered:
        raise BadFormError(name)
    return str(values[0])
