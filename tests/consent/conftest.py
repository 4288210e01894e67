import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from consent.keys import SigningKey
from consent.model import ConsentKind, Grant, Purpose, Role
from consent.registry import OWN_ROLES, Registry, key_name

EVIDENCE = hashlib.sha256(b"a signed form").hexdigest()
TRAINING = (Purpose.PRETRAINING, Purpose.FINETUNING)


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
