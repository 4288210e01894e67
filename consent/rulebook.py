"""Rule sets: the law and the licences, as versioned data files. What a rule can say, and no more.

A rule looks at one case: one value for each field of ``VOCABULARY``. It knows nothing of people,
logs or files; ``consent.policy`` puts a declared use to it.
"""

from __future__ import annotations

import enum
import hashlib
import importlib.resources
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from consent.envelope import canonical_json
from consent.errors import MalformedError
from consent.model import Purpose, Relation

EVERYWHERE = "*"
DEPLOYMENT = "deployment"  # the output is used on people who are filmed then; nobody is trained on
_DUO = (4, 6, 7, 15, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 42, 43, 45, 46)
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "context": ("workplace", "education", "public", "clinical", "research", "consumer"),
    "output_kind": (
        "au",
        "emotion",
        "identity",
        "physical_state",
        "categorisation",
        "intimate_image",
    ),
    "effect": ("hr", "safety", "medical", "research", "product"),
    "subject_relation": tuple(Relation),
    "purposes": (*Purpose, DEPLOYMENT),
    "data_terms": ("own_recordings", "licensed", "scraped", *(f"DUO:{n:07}" for n in _DUO)),
}
EvidenceKind = Annotated[str, StringConstraints(pattern="^[a-z_]{1,32}$")]
Case = Mapping[str, str]


class Outcome(enum.StrEnum):
    """What comes of a declared use."""

    ALLOW = "allow"
    REVIEW = "review"  # a person must answer for it
    DENY = "deny"

    @property
    def severity(self) -> int:
        """The more restrictive, the higher."""
        return list(Outcome).index(self)


def _in_vocabulary(condition: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for field, values in condition.items():
        if field not in VOCABULARY:
            raise ValueError(f"no field is called {field!r}; fields: {', '.join(VOCABULARY)}")
        if unknown := set(values) - set(VOCABULARY[field]):
            raise ValueError(f"{field}: unknown {', '.join(sorted(unknown))}")
    return condition


Condition = Annotated[dict[str, tuple[str, ...]], AfterValidator(_in_vocabulary)]


class Dated(BaseModel):
    """A part of a rule file that holds from one instant until another."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    effective_from: AwareDatetime
    effective_until: AwareDatetime | None = None

    def in_force(self, at: AwareDatetime) -> bool:
        """From its first instant on, until before its last."""
        return self.effective_from <= at and (
            self.effective_until is None or at < self.effective_until
        )


class Rule(Dated):
    """One rule. It matches a case if one condition of ``when`` holds and none of ``unless``."""

    id: str = Field(pattern=r"^[a-z0-9-]+:[0-9A-Za-z.-]+$|^DUO:[0-9]{7}$")
    source: str = Field(min_length=1)
    why: str = Field(min_length=1)
    verdict: Outcome
    when: tuple[Condition, ...] = Field(min_length=1)
    unless: tuple[Condition, ...] = ()
    needs: tuple[EvidenceKind, ...] = ()
    signers: int = Field(1, ge=1, le=2)  # of a review; one of them the data-protection officer
    overridable: bool | None = None  # of a denial: a review may lift it if nothing is missing
    duties: tuple[str, ...] = ()  # what no machine can check

    @model_validator(mode="after")
    def _says_what_a_denial_is(self) -> Rule:
        if (self.verdict is Outcome.DENY) != (self.overridable is not None):
            raise ValueError(
                f"{self.id}: a denial, and nothing else, says whether it can be lifted"
            )
        if self.overridable and not self.needs:
            raise ValueError(f"{self.id}: what would lift this denial? 'needs' is empty")
        return self

    def matches(self, case: Case) -> bool:
        """Whether the rule is about this case."""
        return any(_holds(c, case) for c in self.when) and not any(
            _holds(c, case) for c in self.unless
        )


class RuleSet(Dated):
    """One law, or one body of terms. Silence is no permission."""

    name: str = Field(pattern="^[a-z0-9-]+$")
    version: str
    title: str
    enabled: bool = True  # without being asked for
    speaks_for: tuple[str, ...] = Field(min_length=1)  # ISO 3166 codes; "*": everywhere
    caveat: str = ""
    rules: tuple[Rule, ...] = Field(min_length=1)

    @property
    def is_of_a_place(self) -> bool:
        """Whether it is the law of a jurisdiction."""
        return EVERYWHERE not in self.speaks_for

    def covers(self, jurisdiction: str) -> bool:
        """Whether it speaks for a jurisdiction; a country's law covers its parts."""
        whole = jurisdiction.split("-")[0]
        return bool({EVERYWHERE, jurisdiction, whole} & set(self.speaks_for))


@dataclass(frozen=True)
class RuleBook:
    """All rule sets that a site goes by.

    Raises:
        MalformedError: Two sets have one name, or two rules one id.
    """

    sets: tuple[RuleSet, ...]

    def __post_init__(self) -> None:
        names = [s.name for s in self.sets] + [r.id for s in self.sets for r in s.rules]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise MalformedError(f"given twice: {', '.join(twice)}; a rule has one home")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sets, sorted."""
        return tuple(sorted(s.name for s in self.sets))

    @property
    def digest(self) -> str:
        """SHA-256 of the meaning of all sets: comments and order in the files do not matter."""
        return _digest([_plain(s) for s in sorted(self.sets, key=lambda s: s.name)])

    def in_force(self, at: AwareDatetime) -> tuple[tuple[RuleSet, tuple[Rule, ...]], ...]:
        """Return sets and rules that hold at a time."""
        return tuple(
            (s, tuple(r for r in s.rules if r.in_force(at))) for s in self.sets if s.in_force(at)
        )


def set_digest(rule_set: RuleSet) -> str:
    """SHA-256 of the meaning of one set."""
    return _digest(_plain(rule_set))


def parse_rule_set(text: str, name: str = "rule file") -> RuleSet:
    """Read one rule set.

    Raises:
        MalformedError: Not TOML, an unknown key, or a word that is not in the vocabulary.
    """
    try:
        return RuleSet.model_validate(tomllib.loads(text))
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedError(f"{name}: {where}: {first['msg']}") from e
    except ValueError as e:
        raise MalformedError(f"{name}: {e}") from e


def shipped_sets() -> tuple[RuleSet, ...]:
    """Return every set that comes with Omote, also those that are off by default."""
    folder = importlib.resources.files("consent") / "rules"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(parse_rule_set(f.read_text("utf-8"), f.name) for f in files)


def load_rule_book(enable: Iterable[str] = (), also: Iterable[RuleSet] = ()) -> RuleBook:
    """Return the shipped sets that are on, those of ``enable``, and the site's own.

    Nothing can be taken out: a site's own set can forbid more, never less.

    Raises:
        MalformedError: No set has a name of ``enable``; a set or rule is given twice.
    """
    shipped, wanted = shipped_sets(), set(enable)
    if unknown := wanted - {s.name for s in shipped}:
        known = ", ".join(s.name for s in shipped)
        raise MalformedError(f"no rule set {', '.join(sorted(unknown))}; there are: {known}")
    return RuleBook((*(s for s in shipped if s.enabled or s.name in wanted), *also))


def _holds(condition: Mapping[str, tuple[str, ...]], case: Case) -> bool:
    return all(case[field] in values for field, values in condition.items())


def _plain(rule_set: RuleSet) -> dict[str, object]:
    value = rule_set.model_dump(mode="json")
    return value | {"rules": sorted(value["rules"], key=lambda r: str(r["id"]))}


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()
