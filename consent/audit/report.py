"""The answers of an audit: in JSON with one byte form, and as one HTML page that prints well."""

from __future__ import annotations

import enum
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from consent.envelope import canonical_json, parse_json
from consent.errors import MalformedError

SCHEMA = "https://omote.dev/audit-report/v1"
TEMPLATES = Path(__file__).with_name("templates")
MAX_ROWS = 100  # of one table on the page; the JSON has all


class Outcome(enum.StrEnum):
    """How an answer stands, from good to bad."""

    GOOD = "good"
    NOTHING = "nothing"  # the question does not arise here
    LOOK = "look"  # a person should look at it
    FINDING = "finding"  # something must be done
    BROKEN = "broken"  # the evidence itself cannot be trusted


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(_Part):
    """Facts in rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Answer(_Part):
    """One question of the audit, answered."""

    number: int
    group: str
    question: str
    outcome: Outcome
    answer: str  # in one or two sentences
    evidence: tuple[str, ...] = ()
    table: Table | None = None
    todo: tuple[str, ...] = ()


class Head(_Part):
    """Which log was audited, and who else saw it."""

    origin: str
    size: int
    root: str  # hex
    witnesses: tuple[str, ...]  # names, with the time of each cosignature


class Report(_Part):
    """A whole audit."""

    schema_version: Literal["https://omote.dev/audit-report/v1"] = (
        "https://omote.dev/audit-report/v1"
    )
    site: str
    at: AwareDatetime
    tool: str
    log: Head
    answers: tuple[Answer, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst of the answers."""
        order = list(Outcome)
        return max((a.outcome for a in self.answers), key=order.index, default=Outcome.GOOD)

    def to_json(self) -> bytes:
        """Return the report as canonical JSON, with its own digest."""
        body = self.model_dump(mode="json")
        return canonical_json({**body, "outcome": self.outcome, "digest": self.digest()})

    def digest(self) -> str:
        """Return SHA-256 over the report without the digest."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    @classmethod
    def from_json(cls, data: bytes) -> Report:
        """Read a report.

        Raises:
            MalformedError: Not a report of this version, or changed since it was written.
        """
        body = parse_json(data)
        try:
            digest, _ = body.pop("digest"), body.pop("outcome")
            report = cls.model_validate(body)
        except (AttributeError, KeyError, TypeError, ValidationError) as e:
            raise MalformedError(f"expected an audit report of {SCHEMA}") from e
        if report.digest() != digest:
            raise MalformedError("this audit report was changed after it was written")
        return report


def tool_name() -> str:
    """Return the name and version of this software."""
    return f"omote {version('omote')}"


VERDICTS = {
    Outcome.GOOD: "Everything that can be recomputed agrees. Nothing needs to be done.",
    Outcome.NOTHING: "Everything that can be recomputed agrees. Nothing needs to be done.",
    Outcome.LOOK: "The evidence holds. Some points need a person to look at them.",
    Outcome.FINDING: "The evidence holds, and it shows something that must be put right.",
    Outcome.BROKEN: "The evidence does not hold. Do not rely on this log until it is explained.",
}
WORDS = {
    Outcome.GOOD: "In order",
    Outcome.NOTHING: "Does not arise",
    Outcome.LOOK: "Please look",
    Outcome.FINDING: "Act",
    Outcome.BROKEN: "Broken",
}


def page(report: Report) -> str:
    """Return the report as one HTML page: no scripts, nothing loaded from elsewhere."""
    worst_first = list(Outcome)[::-1]
    pressing = [a for a in report.answers if a.outcome in worst_first[:3]]
    return render(
        "report.html",
        report=report,
        verdict=VERDICTS[report.outcome],
        words=WORDS,
        counts={o: sum(a.outcome is o for a in report.answers) for o in worst_first},
        pressing=sorted(pressing, key=lambda a: worst_first.index(a.outcome)),
        groups=list(dict.fromkeys(a.group for a in report.answers)),
        max_rows=MAX_ROWS,
    )


def render(template: str, **values: object) -> str:
    """Fill a template of this package. Everything in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
