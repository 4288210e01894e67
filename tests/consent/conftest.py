import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from consent.entry import Opening, Sealed
from consent.errors import MalformedError
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import ConsentKind, Grant, NoticeRef, Purpose, Role, SubjectEvent
from consent.registry import Registry
from consent.site_folder import OWN_ROLES
from consent.site_keys import key_name
from consent.subject_events import ConsentGiven, ConsentWithdrawn

EVIDENCE = hashlib.sha256(b"a signed form").hexdigest()
NOTICE = NoticeRef(notice_id="notice", version=1, language="en", sha256="0" * 64)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **kwargs) -> None:
        self.now += timedelta(**kwargs)


class OpenVault:
    """A Sealer that hides nothing, for tests of the log alone: salt and event as they are."""

    def seal(self, seq, opening):
        owner = opening.event.subject_id if isinstance(opening.event, SubjectEvent) else None
        return Sealed(owner, seq.to_bytes(8, "big") + opening.packed())

    def unseal(self, seq, sealed):
        if sealed.body[:8] != seq.to_bytes(8, "big"):
            raise MalformedError("sealed for another entry")
        return Opening.parse(sealed.body[8:])


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def vault():
    return OpenVault()


@pytest.fixture
def log_key():
    return SigningKey.from_seed("site-a/consent-log", b"l" * 32)


@pytest.fixture
def registrar():
    return SigningKey.from_seed("site-a/registrar", b"r" * 32)


@pytest.fixture
def log(tmp_path, clock, log_key, registrar, vault):
    return make_log(tmp_path / "site" / "log.sqlite", log_key, registrar, vault, clock)


@pytest.fixture
def staffed(tmp_path, log_key, registrar, vault, clock):
    """A log that also knows a data-protection officer and a root key: entries begin at 4."""
    path = tmp_path / "staffed" / "log.sqlite"
    return make_log(path, log_key, registrar, vault, clock, Role.DPO, Role.ROOT)


def make_log(path, log_key, registrar, vault, clock, *others):
    path.parent.mkdir(exist_ok=True)
    keys = [(Role.REGISTRAR, registrar.verifier), *((r, key_of(r).verifier) for r in others)]
    return ConsentLog.create(path, log_key, vault, keys, clock)


def given(subject, *purposes, expires_at=None):
    grants = [Grant(purpose=p, expires_at=expires_at) for p in purposes or [Purpose.FINETUNING]]
    return ConsentGiven(subject_id=subject, grants=tuple(grants), notice=NOTICE, evidence=EVIDENCE)


def withdrawn(subject, *purposes):
    return ConsentWithdrawn(subject_id=subject, purposes=purposes or (Purpose.FINETUNING,))


def key_of(role: Role) -> SigningKey:
    return SigningKey.from_seed(key_name("site-a", role), role.value.ljust(32).encode())


@pytest.fixture
def registry(tmp_path, clock):
    keys = {role: key_of(role) for role in OWN_ROLES}
    return Registry.create(tmp_path / "consent", "site-a", clock, territory="DE", keys=keys)


@pytest.fixture
def notice(registry):
    return registry.publish_notice("study", "en", "We train a detector.", list(Purpose))


def give(registry, subject_id, notice, *purposes, **limits):
    """Record consent to fine-tuning, or to these purposes."""
    grants = [Grant(purpose=p, **limits) for p in purposes or [Purpose.FINETUNING]]
    return registry.give(subject_id, grants, notice, ConsentKind.EXPLICIT, EVIDENCE)


def openings_of(log, owner) -> list[int]:
    """Return the indices of the openings that are kept of one person."""
    with log.store.transaction() as tx:
        return [seq for seq, who, _ in tx.openings(0, tx.size()) if who == owner]
