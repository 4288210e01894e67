"""What a release gate found, as it stands in the card of a model. No torch.

The words are made of the figures, so that they cannot tell something else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core_model.config import Settings
from core_model.release import privacy_words

_SHA256 = "^[0-9a-f]{64}$"
Language = Literal["en", "ja"]


class AttackTried(Settings):
    """One attack of the suite, on generated people and trained as this model was."""

    attack: str
    works_undefended: bool  # where nothing defends; else its failures say nothing
    leaks: tuple[str, ...]  # where it succeeded although something defends


class PrivacyFacts(Settings):
    """What is known of the privacy of people behind a model, and of people it will see."""

    epsilon: float = Field(ge=0)  # of a person at one site, all rounds
    delta: float = Field(gt=0, lt=1)
    accountant: Literal["rdp"] = "rdp"
    is_simulation: bool = False  # seeded noise: protects nobody
    num_sites: int = Field(ge=1)
    num_rounds: int = Field(ge=1)
    least_epsilon: float = Field(ge=0)  # what an audit proved against a promise, 95 %
    audit_promise: float = Field(gt=0)
    canaries: int = Field(ge=1)
    largest_move: float = Field(ge=0)  # of a step when a person is left out; 1 is as promised
    equal_error_rate: float = Field(ge=0, le=1)  # new people, features; 0.5 is guessing
    new_people: int = Field(ge=2)
    attacks: tuple[AttackTried, ...]
    consent_rules: tuple[str, ...]  # digests of the rules in force at the sites
    round_log: str = Field(pattern=_SHA256)  # root of the signed log of rounds
    start: str | None = Field(None, pattern=_SHA256)  # weights before round 1
    results: dict[str, str]  # SHA-256 of each file of results
    limits: dict[str, float]  # that the policy set
    text: dict[Language, str] = Field({})

    @model_validator(mode="after")
    def _worded(self) -> PrivacyFacts:
        words: dict[Language, str] = {
            "en": privacy_words.english(self),
            "ja": privacy_words.japanese(self),
        }
        if self.text and self.text != words:
            raise ValueError("text: says something else than the figures")
        object.__setattr__(self, "text", words)
        return self
