"""What an attack found, as it stands in JSON. Names no person; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core_model.config import Settings
from core_model.evaluation.metrics import Score

AttackName = Literal[
    "model-membership", "update-membership", "site-membership", "canaries", "replay", "identity",
    "update-identity", "inversion", "linkage",
]  # fmt: skip


class Row(Settings):
    """One attacker against one way of giving things away."""

    against: str  # what the attacker sees, and which defence is on
    measure: str  # such as AUC
    value: float
    low: float | None  # 95 %, by people or by runs; null where there is one run only
    high: float | None
    chance: float  # what guessing gets, or what the promise allows
    is_baseline: bool = False  # without the defence: the attack must succeed here
    # Without the defence too, or with a fault put in: no defence is judged by it.
    is_reference: bool = False
    wants_less: bool = False  # an error: the attacker wants it below chance

    @classmethod
    def of(
        cls,
        against: str,
        measure: str,
        score: Score,
        chance: float,
        *,
        is_baseline: bool = False,
        is_reference: bool = False,
        wants_less: bool = False,
    ) -> Row:
        """Return a row of a value with its interval."""
        ends = [e if e == e else None for e in (score.low, score.high)]  # JSON knows no nan
        return cls(
            against=against, measure=measure, value=score.value, low=ends[0], high=ends[1],
            chance=chance, is_baseline=is_baseline, is_reference=is_reference,
            wants_less=wants_less,
        )  # fmt: skip

    @property
    def is_defended(self) -> bool:
        """Whether something defends that this row judges."""
        return not (self.is_baseline or self.is_reference)

    @property
    def has_succeeded(self) -> bool:
        """Whether the whole interval is on the attacker's side of chance."""
        if self.wants_less:
            return (self.value if self.high is None else self.high) < self.chance
        return (self.value if self.low is None else self.low) > self.chance


class AttackResult(Settings):
    """All rows of one attack."""

    format: Literal[1] = 1
    attack: AttackName
    question: str
    means: str  # how to read it, in a sentence
    rows: tuple[Row, ...] = Field(min_length=2)
    effort: str  # quick or full
    seed: int
    seconds: float  # of one processor

    @property
    def is_meaningful(self) -> bool:
        """Whether the attack works where nothing defends: else its failures say nothing."""
        return all(row.has_succeeded for row in self.rows if row.is_baseline)


class AttackResults(Settings):
    """What a whole suite found."""

    format: Literal[1] = 1
    command: str
    machine: str
    results: tuple[AttackResult, ...]
