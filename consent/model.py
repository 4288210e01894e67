"""The words of consent: purposes, events, and the decision about one person.

A subject is a random identifier made at the site; it never leaves the site.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Purpose(enum.StrEnum):
    """What a subject can agree to. Each is asked for on its own; absent means no."""

    PRETRAINING = "pretraining"
    FINETUNING = "finetuning"
    EVALUATION = "evaluation"


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConsentGiven(_Event):
    """A subject agreed."""

    type: Literal["consent.given"] = "consent.given"
    subject_id: str = Field(min_length=1)
    purposes: frozenset[Purpose] = Field(min_length=1)
    notice_sha256: str = Field(pattern="^[0-9a-f]{64}$")  # the exact text that was shown
    expires_at: AwareDatetime | None = None


class ConsentWithdrawn(_Event):
    """A subject took it back. Never refused, whoever is missing."""

    type: Literal["consent.withdrawn"] = "consent.withdrawn"
    subject_id: str = Field(min_length=1)
    purposes: frozenset[Purpose] = Field(min_length=1)


class KeyAdded(_Event):
    """A key may sign entries from here on. The first entry of a log adds its own."""

    type: Literal["key.added"] = "key.added"
    vkey: str


ConsentEvent = Annotated[ConsentGiven | ConsentWithdrawn | KeyAdded, Field(discriminator="type")]


class Decision(enum.StrEnum):
    """Whether a subject's data may be used, and if not, why."""

    ALLOWED = "allowed"
    NEVER_GIVEN = "never_given"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


def decide(
    events: Sequence[ConsentGiven | ConsentWithdrawn], purpose: Purpose, at: datetime
) -> Decision:
    """Decide about one subject from all of the subject's events, in the order of the log.

    The last event about the purpose wins. Silence means no.
    """
    last = next((e for e in reversed(events) if purpose in e.purposes), None)
    if last is None:
        return Decision.NEVER_GIVEN
    if isinstance(last, ConsentWithdrawn):
        return Decision.WITHDRAWN
    if last.expires_at is not None and last.expires_at <= at:
        return Decision.EXPIRED
    return Decision.ALLOWED
