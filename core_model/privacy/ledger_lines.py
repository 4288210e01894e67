"""The lines of a privacy ledger, and the chain that ties them. Pure: bytes in, entries or an error.

Each line is JSON in one byte form and names the SHA-256 of the line before. People stand in it as
numbers, given in the order in which they were first charged; a name is hidden by an HMAC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from core_model.config import Purpose, Settings
from core_model.privacy.accounting import Kind
from core_model.privacy.plan import PrivacyPlan, Unit

FIRST = "0" * 64  # what the first line names as the line before
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Range = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]  # first and last


class LedgerError(ValueError):
    """A privacy ledger is damaged, was tampered with, or is older than it should be."""


class Opening(Settings):
    """The first line: whose ledger it is."""

    type: Literal["opened"] = "opened"
    format: Literal[1] = 1
    site: str
    key: Sha256  # SHA-256 of the key that hides names
    previous: str = Field(FIRST, pattern="^0{64}$")


class Noise(Settings):
    """What was promised about a unit. Kept apart from ``PrivacyPlan``, which may grow fields."""

    unit: Unit
    noise_multiplier: float
    sampling_rate: float
    frames_per_subject: int
    clip_norm: float
    denominator: float  # what sums are divided by; public
    delta: float

    @classmethod
    def of(cls, plan: PrivacyPlan) -> Noise:
        """Return what a plan promises."""
        return cls(
            unit=plan.unit,
            noise_multiplier=plan.noise_multiplier,
            sampling_rate=plan.sampling_rate,
            frames_per_subject=plan.frames_per_subject,
            clip_norm=plan.clip_norm,
            denominator=plan.denominator,
            delta=plan.delta,
        )

    @property
    def kind(self) -> Kind:
        """What a step costs a unit."""
        return Kind(self.noise_multiplier, self.sampling_rate)


class Charge(Settings):
    """Steps that may have been taken: written before they are.

    ``poisson_gaussian``: every unit of the pool took part in each step with probability
    ``noise.sampling_rate``, under noise. ``unprotected``: the pool was trained on without noise.
    """

    type: Literal["charged"] = "charged"
    seq: int = Field(ge=1)
    at: AwareDatetime
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    step_from: int = Field(ge=0)  # of the round
    steps: int = Field(ge=1)
    event: Literal["poisson_gaussian", "unprotected"]
    noise: Noise | None  # None: unprotected
    is_simulation: bool = False  # chance was seeded: whoever knows the seed can subtract the noise
    pool: tuple[Range, ...]  # who may have been sampled; stays at the site
    joined: tuple[Sha256, ...] = ()  # names of people never charged before, numbered on
    plan: Sha256  # digest of the whole plan
    code: Sha256  # digest of the software that ran
    previous: Sha256

    @property
    def kind(self) -> Kind | None:
        """What a step costs a person; None: nothing bounds it.

        A promise about a frame is none about a person.
        """
        return self.noise.kind if self.noise and self.noise.unit == "subject" else None

    def people(self) -> Iterator[range]:
        """Yield the numbers of the pool."""
        return (range(first, last + 1) for first, last in self.pool)


Line = Opening | Charge
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def write_line(line: Line) -> bytes:
    """Return the one byte form of a line."""
    text = json.dumps(
        line.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return text.encode() + b"\n"


def digest_of(line: bytes) -> str:
    """Return what the next line names."""
    return hashlib.sha256(line).hexdigest()


def read_lines(lines: Sequence[bytes], seq: int, previous: str) -> Iterator[Line]:
    """Yield the entries of some lines, which follow ``seq`` earlier ones.

    Raises:
        LedgerError: A line is not in its one form, or does not follow the one before. Names it.
    """
    for number, raw in enumerate(lines, start=seq):
        try:
            line = _LINE.validate_json(raw)
        except ValidationError as e:
            raise _damaged(number, "it is not an entry of this version") from e
        if write_line(line) != raw:
            raise _damaged(number, "it is not in the form in which it was written")
        if line.previous != previous:
            raise _damaged(number, "the line before it was changed, taken out or put in")
        if number != (line.seq if isinstance(line, Charge) else 0):
            raise _damaged(number, "it is out of order")
        previous = digest_of(raw)
        yield line


def ranges(numbers: Iterable[int]) -> tuple[Range, ...]:
    """Return whole numbers as ranges: 0, 1, 2, 7 are (0, 2) and (7, 7)."""
    result: list[tuple[int, int]] = []
    for n in sorted(set(numbers)):
        if result and n == result[-1][1] + 1:
            result[-1] = (result[-1][0], n)
        else:
            result.append((n, n))
    return tuple(result)


def _damaged(number: int, why: str) -> LedgerError:
    return LedgerError(
        f"the privacy ledger is damaged at line {number + 1}: {why}. What was spent is no longer "
        "known: restore the newest copy that omote-site ledger verify accepts"
    )
