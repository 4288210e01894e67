"""What ``omote-model audit`` found, as it stands in JSON. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core_model.config import Settings


class AuditResult(Settings):
    """A one-run audit and a neighbouring replay of the private loop on one model."""

    format: Literal[1] = 1
    model: str = Field(pattern="^[0-9a-f]{64}$")  # digest of the weights
    promise: float = Field(gt=0)  # epsilon that the loop was told to keep
    delta: float = Field(gt=0, lt=1)
    canaries: int = Field(ge=1)
    guesses: int = Field(ge=1)
    right: int = Field(ge=0)
    least_epsilon: float = Field(ge=0)  # with 95 % confidence
    largest_move: float = Field(ge=0)  # of a step when a person is left out; 1 is as promised
    replayed: int = Field(ge=1)  # people, each left out once
    seed: int
