from datetime import UTC, datetime, timedelta

import pytest

from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import ConsentGiven, ConsentWithdrawn, Purpose

NOTICE = "0" * 64


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **kwargs) -> None:
        self.now += timedelta(**kwargs)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log_key():
    return SigningKey.from_seed("site-a/consent-log", b"l" * 32)


@pytest.fixture
def registrar():
    return SigningKey.from_seed("site-a/registrar", b"r" * 32)


@pytest.fixture
def log(tmp_path, clock, log_key, registrar):
    return ConsentLog.create(tmp_path / "consent.sqlite", log_key, [registrar], clock)


def given(subject, *purposes, expires_at=None):
    return ConsentGiven(
        subject_id=subject,
        purposes=frozenset(purposes or [Purpose.FINETUNING]),
        notice_sha256=NOTICE,
        expires_at=expires_at,
    )


def withdrawn(subject, *purposes):
    return ConsentWithdrawn(
        subject_id=subject, purposes=frozenset(purposes or [Purpose.FINETUNING])
    )
