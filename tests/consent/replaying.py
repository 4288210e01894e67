"""Logs in memory, for tests of what their events mean."""

import copy
from datetime import UTC, datetime, timedelta

from consent.model import Grant, NoticeRef, Purpose, Role
from consent.site_events import KeyAdded, NoticePublished, SiteDescribed
from consent.site_folder import OWN_ROLES
from consent.state import State
from consent.subject_events import (
    ConsentEnded,
    ConsentGiven,
    ConsentRefused,
    ConsentWithdrawn,
    SubjectRegistered,
)
from tests.consent.conftest import EVIDENCE, key_of

DAY_0 = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {role: key_of(role).verifier for role in OWN_ROLES}
IDS = {role: key.key_id.hex() for role, key in KEYS.items()}


def day(number):
    return DAY_0 + timedelta(days=number)


def ref(version=1, language="en"):
    return NoticeRef(notice_id="study", version=version, language=language,
                     sha256=f"{version}{language}".encode().hex().ljust(64, "0"))  # fmt: skip


def published(version=1, language="en", purposes=tuple(Purpose), changed=()):
    return NoticePublished(notice=ref(version, language), purposes=purposes, text="We train.",
                           changed=changed)  # fmt: skip


def registered(subject="anna", **facts):
    return SubjectRegistered(subject_id=subject, **facts)


def given(*purposes, subject="anna", notice=1, language="en", guardian=None, **limits):
    grants = [Grant(purpose=p, **limits) for p in purposes or [Purpose.FINETUNING]]
    return ConsentGiven(subject_id=subject, grants=grants, notice=ref(notice, language),
                        evidence=EVIDENCE, guardian_id=guardian)  # fmt: skip


def refused(*purposes, subject="anna"):
    return ConsentRefused(subject_id=subject, purposes=purposes or (Purpose.FINETUNING,),
                          notice=ref())  # fmt: skip


def withdrawn(*purposes, subject="anna"):
    return ConsentWithdrawn(subject_id=subject, purposes=purposes or (Purpose.FINETUNING,))


def ended(kind, *purposes, subject="anna"):
    return ConsentEnded(type=kind, subject_id=subject, purposes=purposes or (Purpose.FINETUNING,))


USUAL = {"notice": Role.DPO, "subject.erased": Role.DPO, "policy": Role.DPO, "round": Role.OPERATOR,
         "model": Role.OPERATOR, "asset": Role.OPERATOR, "key": Role.ROOT}  # fmt: skip


def signer_of(event):
    return next((r for t, r in USUAL.items() if event.type.startswith(t)), Role.REGISTRAR)


class Replayed:
    """A state that grows by hand: one entry a day, each signed by whoever usually does."""

    def __init__(self, *events, territory=None):
        self.state = State()
        for role, key in KEYS.items():
            self.add(KeyAdded(vkey=key.vkey, role=role), Role.LOG, at=day(0))
        self.add(SiteDescribed(site="site-a", territory=territory), Role.LOG, at=day(0))
        self.founding = self.state.size
        for number, event in enumerate(events):
            self.add(event, at=day(number))

    def add(self, event, role=None, *, at=None, key=None):
        index = self.state.size
        signer = key or IDS[role or signer_of(event)]
        self.state.apply(index, at or self.state.last_time, signer, copy.deepcopy(event))
        return index
