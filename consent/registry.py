"""A site's whole consent in one folder: log, sealed records, keys. The facade for all callers.

Every change is checked against the log and the signer's role under one lock, then appended.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from consent.errors import RecordError
from consent.events import ConsentEvent
from consent.gate import ConsentGate
from consent.journal import Journal
from consent.keys import SigningKey
from consent.log import Clock
from consent.model import ConsentKind, Grant, NoticeRef, NoticeTerms, Purpose, Relation, Role
from consent.roles import WITHDRAWERS
from consent.site_events import SubjectErased
from consent.site_folder import SiteFolder
from consent.snapshot import LogSnapshot
from consent.standing import NoticeState
from consent.state import State
from consent.subject_events import (
    ConsentGiven,
    ConsentRefused,
    ConsentRequested,
    ConsentWithdrawn,
    GuardianLinked,
    SubjectRegistered,
)


class Registry:
    """Consent of one site: who agreed to what, and everything that happened since."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Use ``create`` or ``open``."""
        self.folder = folder
        self.clock = clock
        place = SiteFolder(folder)
        self.keys = place.keys
        self._vault = place.open_vault()
        self.journal = Journal(place, self._vault, clock)

    @classmethod
    def create(
        cls,
        folder: Path,
        site: str,
        clock: Clock,
        *,
        territory: str | None = None,
        num_roots: int = 1,
        keys: Mapping[Role, SigningKey] | None = None,
        store: str | None = None,
    ) -> Registry:
        """Make an empty registry with new keys for each role, or those given.

        Of ``num_roots`` root keys, more than half must agree to change keys later. ``store`` is
        the URL of a PostgreSQL database, without password; else the log is a file.

        Raises:
            KeyFileError: There is a registry already.
        """
        SiteFolder(folder).found(site, clock, territory, num_roots, keys or {}, store)
        return cls(folder, clock)

    @classmethod
    def open(cls, folder: Path, clock: Clock) -> Registry:
        """Open a registry; finish an erasure that was interrupted.

        Raises:
            KeyFileError: A key file is readable by others.
            VaultError: The keystore is missing or of another site.
            FileNotFoundError: There is no log.
        """
        registry = cls(folder, clock)
        registry._finish_erasures()
        return registry

    def state(self) -> State:
        """Return what the log says now. It grows as the log does: use it, do not keep it."""
        with self.journal.reading() as (state, _):
            return state

    def snapshot(self) -> LogSnapshot:
        """Return the log's head and proofs as they stand now."""
        with self.journal.reading() as (_, snapshot):
            return snapshot

    @cached_property
    def gate(self) -> ConsentGate:
        """The gate of this registry."""
        return ConsentGate(self.journal, self.clock)

    @property
    def site(self) -> str:
        """The site's public name."""
        described = self.state().site
        assert described is not None  # written with the first entries
        return described.event.site

    def signing_key(self, role: Role) -> SigningKey:
        """Return the key at hand that may sign for a role now. KeyFileError: there is none."""
        state = self.state()
        return self.keys.first([role], state.keys, state.size)

    @property
    def log_vkey(self) -> str:
        """The key that others check this log with."""
        return next(k.vkey for k in self.state().keys.keys.values() if k.role is Role.LOG)

    def find(self, outside_id: str) -> str | None:
        """Return the subject id of a person known by an outside id."""
        return self.state().tags.get(self._vault.tag(outside_id))

    def account_id(self, name: str) -> str:
        """Return what stands for a desk account in the log. Only this site can work it out."""
        return self._vault.account(name)

    def now(self) -> datetime:
        """Return the latest of the clock and the last entry."""
        return max(self.clock(), self.state().last_time)

    def append(self, events: Sequence[ConsentEvent], role: Role | SigningKey) -> range:
        """Check and append events in one durable step: all of them or none.

        ``role`` signs with its key in this folder, or a key is given that is kept elsewhere.

        Raises:
            RecordError: An event does not fit the log.
            RoleError: The role may not sign an event.
            KeyFileError: The role's key is not at hand.
        """
        return self.journal.append(events, [role] if isinstance(role, Role) else role)

    def publish_notice(
        self,
        notice_id: str,
        language: str,
        text: str,
        purposes: Sequence[Purpose],
        material: bool | Sequence[Purpose] = False,
        *,
        terms: NoticeTerms | None = None,
    ) -> NoticeRef:
        """Publish a notice: a new version, or another language of the latest one.

        ``material`` names purposes about which earlier versions promised something else, or all
        with True: grants on earlier versions are stale for these.
        """
        changed = tuple(purposes) if material is True else tuple(material or ())
        with self.journal.writing() as state:
            known = state.notices.get(notice_id, NoticeState())
            event = known.draft(notice_id, language, text, tuple(purposes), changed, terms)
            self.append([event], Role.DPO)
        return event.ref

    def register(
        self,
        outside_id: str | None = None,
        relation: Relation = Relation.VOLUNTEER,
        jurisdiction: str = "EU",
        adult_from: date | None = None,
        *,
        subject_id: str | None = None,
    ) -> str:
        """Register a person under a random identifier; return it.

        Args:
            outside_id: What the site calls the person, such as a staff number. Not stored.
            relation: To the site.
            jurisdiction: ISO 3166 code, or EU.
            adult_from: Of a minor, the day of majority.
            subject_id: An identifier that recordings carry already.

        Raises:
            RecordError: The person is registered, or asked never to be again.
        """
        event = self.registration(outside_id, relation, jurisdiction, adult_from, subject_id)
        self.append([event], Role.REGISTRAR)
        return event.subject_id

    def registration(
        self,
        outside_id: str | None,
        relation: Relation,
        jurisdiction: str,
        adult_from: date | None = None,
        subject_id: str | None = None,
    ) -> SubjectRegistered:
        """Return the event that ``register`` would append, for those who append many at once.

        Raises:
            RecordError: The person asked never to be registered again.
        """
        tag = None if outside_id is None else self._vault.tag(outside_id)
        if tag is not None and self._vault.is_suppressed(tag):
            raise RecordError("this person was erased and asked not to be registered again")
        return SubjectRegistered(
            subject_id=subject_id or secrets.token_hex(16), tag=tag, relation=relation,
            jurisdiction=jurisdiction, adult_from=adult_from,
        )  # fmt: skip

    def link_guardian(self, subject_id: str, guardian_id: str, evidence: str) -> int:
        """Record that a registered person was shown to be a minor's guardian."""
        event = GuardianLinked(subject_id=subject_id, guardian_id=guardian_id, evidence=evidence)
        return self.append([event], Role.REGISTRAR).start

    def request(self, subject_id: str, purposes: Sequence[Purpose], notice: NoticeRef) -> int:
        """Record that a notice was shown and not answered yet."""
        event = ConsentRequested(subject_id=subject_id, purposes=tuple(purposes), notice=notice)
        return self.append([event], Role.REGISTRAR).start

    def give(
        self,
        subject_id: str,
        grants: Sequence[Grant],
        notice: NoticeRef,
        kind: ConsentKind,
        evidence: str,
        *,
        guardian_id: str | None = None,
        assent: Literal["given", "not_capable"] = "given",
        is_renewal: bool = False,
    ) -> int:
        """Record consent; return the index of its entry.

        Args:
            subject_id: Who agreed.
            grants: One for each purpose, each with its own limits.
            notice: The exact text that was shown.
            kind: How consent was expressed.
            evidence: SHA-256 of what shows it, such as the signed form.
            guardian_id: Who agreed for a minor; linked before.
            assent: Of the minor.
            is_renewal: Confirms what was given before.

        Raises:
            RecordError: Not registered, no such notice, or a minor without guardian.
        """
        event = ConsentGiven(
            type="consent.renewed" if is_renewal else "consent.given",
            subject_id=subject_id, grants=tuple(grants), notice=notice, kind=kind,
            evidence=evidence, guardian_id=guardian_id, assent=assent,
        )  # fmt: skip
        return self.append([event], Role.REGISTRAR).start

    def refuse(self, subject_id: str, purposes: Sequence[Purpose], notice: NoticeRef) -> int:
        """Record a refusal. It also takes back what was given before."""
        event = ConsentRefused(subject_id=subject_id, purposes=tuple(purposes), notice=notice)
        return self.journal.append([event], WITHDRAWERS).start

    def withdraw(self, subject_id: str, purposes: Sequence[Purpose] = tuple(Purpose)) -> int:
        """Record a withdrawal; return the index of its entry. RecordError: no such person.

        Never fails for want of a role: if neither registrar nor data-protection officer is at hand
        the operator or the log itself signs, which is flagged.
        """
        event = ConsentWithdrawn(subject_id=subject_id, purposes=tuple(purposes))
        return self.journal.append([event], WITHDRAWERS).start

    def erase(
        self, subject_id: str, ground: str, *, suppress: bool = False, desk: str | None = None
    ) -> int:
        """Make everything about a person unreadable, for good; return the index of the entry.

        One that is interrupted is finished at the next ``open``. ``suppress``: register the same
        outside id never again. ``desk``: an account, from ``account_id``.

        Raises:
            RecordError: There is no such person, or they were erased before.
        """
        with self.journal.writing() as state:
            person = state.find(subject_id)
            tag = person.registered.event.tag if person.registered else None
            entries = tuple(person.entries)
            event = SubjectErased(subject_id=subject_id, entries=entries, ground=ground, desk=desk)
            (index,) = self.journal.append([event], [Role.DPO], forget=entries)
            if suppress and tag is not None:
                self._vault.suppress(tag)
            self._finish_erasures()
        return index

    def _finish_erasures(self) -> None:
        erased = [s for s, p in self.state().subjects.items() if p.erased]
        if left := self._vault.held(erased):
            with self.journal.writing():
                self._vault.destroy(left)
