"""Puts a declared use of faces to the rules: allow, review or deny, with every reason.

It checks declarations, not deeds: what someone does with AU numbers later, it cannot see. It is no
legal advice. Whatever it does not know, it denies; the most restrictive rule wins.
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from consent.envelope import canonical_json
from consent.errors import DeniedError, MalformedError
from consent.model import SHA256
from consent.rulebook import VOCABULARY, EvidenceKind, Outcome, Rule, RuleBook
from consent.site_events import PolicyDecided, ReviewApproved

CONSENT_GRADES = {  # what each grade of consent counts as; see ConsentKind
    "none": (),
    "expressed": ("expressed_consent",),
    "explicit": ("expressed_consent", "explicit_consent"),
    "written_release": ("expressed_consent", "explicit_consent", "written_release"),
}
_ONLY_BY_CONSENT = frozenset(CONSENT_GRADES["written_release"])


def _sorted_once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


_Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Words = Annotated[
    tuple[_Word, ...], Field(min_length=1, max_length=64), AfterValidator(_sorted_once)
]


class Jurisdictions(BaseModel):
    """ISO 3166 codes, such as DE, JP or US-IL. The rules of all of them hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    subjects: Words  # where the people live
    sites: Words  # where the data is
    deployment: Words  # where the output is used; for training alone, that of the sites

    @property
    def union(self) -> tuple[str, ...]:
        """Every code, once."""
        return _sorted_once(self.subjects + self.sites + self.deployment)


class Evidence(BaseModel):
    """A document that the site says it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: EvidenceKind
    sha256: str = Field(pattern=SHA256)
    valid_until: AwareDatetime | None = None


class Declaration(BaseModel):
    """What someone says they will do. Words that no rule knows are kept, and denied."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str = Field(min_length=1, max_length=200)
    jurisdictions: Jurisdictions
    context: Words
    output_kind: Words
    effect: Words
    subject_relation: Words
    purposes: Words
    data_terms: Words
    consent: str  # the weakest that any person in the data gave
    evidence: tuple[Evidence, ...] = ()
    overrides: tuple[str, ...] = ()  # denials that a review is asked to lift

    def body(self) -> bytes:
        """The declaration's one byte form."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of ``body``."""
        return hashlib.sha256(self.body()).hexdigest()

    def evidence_at(self, at: datetime) -> frozenset[str]:
        """Kinds of evidence that are there and valid. Consent is told by ``consent`` alone."""
        valid = frozenset(
            e.kind for e in self.evidence if e.valid_until is None or at < e.valid_until
        )
        return (valid - _ONLY_BY_CONSENT) | set(CONSENT_GRADES.get(self.consent, ()))


@dataclass(frozen=True)
class Finding:
    """One rule that matched, and what came of it here."""

    rule: str
    source: str
    outcome: Outcome
    why: str
    jurisdictions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # kinds of evidence
    duties: tuple[str, ...] = ()
    signers: int = 0  # of a review
    is_final: bool = False  # a denial that no evidence and nobody can lift
    may_be_lifted: bool = False  # a denial that a review could lift
    was_lifted: bool = False  # a denial that became a review


@dataclass(frozen=True)
class Verdict:
    """The answer, with every rule that matched."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    declaration: str  # digest
    policy: str  # digest of the rule book
    at: datetime

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds of evidence that any finding misses."""
        return _sorted_once(tuple(kind for f in self.findings for kind in f.missing))

    @property
    def signers(self) -> int:
        """How many people must answer for it; none unless it is a review."""
        return max(f.signers for f in self.findings) if self.outcome is Outcome.REVIEW else 0

    def event(self, declaration: Declaration) -> PolicyDecided:
        """The decision on ``declaration``, for the log."""
        assert declaration.digest == self.declaration
        return PolicyDecided(
            declaration=self.declaration,
            declared=declaration.body().decode(),
            policy=self.policy,
            verdict=self.outcome.value,
            rules=_sorted_once(tuple(f.rule for f in self.findings)),
        )


def parse_declaration(text: str) -> Declaration:
    """Read a declaration.

    Raises:
        MalformedError: Not TOML, or a key is missing, unknown or of the wrong type.
    """
    try:
        return Declaration.model_validate(tomllib.loads(text))
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedError(
            f"declaration: {where}: {first['msg']}. A filled-in example: "
            "omote-consent policy template"
        ) from e
    except ValueError as e:
        raise MalformedError(f"declaration is not TOML: {e}") from e


def decide_use(declaration: Declaration, rules: RuleBook, at: datetime) -> Verdict:
    """Decide on a declared use.

    Every combination of the declared values is a case of its own. Every rule set that speaks for
    one of the jurisdictions must have a rule for every case: silence denies.

    Args:
        declaration: What is to be done.
        rules: The site's rule book.
        at: The later of the clock and the log's last entry: a clock set back revives no rule.
    """
    findings = [*_unknown_words(declaration), *_unknown_places(declaration, rules, at)]
    cases = list(_cases(declaration))
    have = declaration.evidence_at(at)
    for rule_set, in_force in rules.in_force(at):
        places = tuple(j for j in declaration.jurisdictions.union if rule_set.covers(j))
        if not places:
            continue
        matched = (rule for rule in in_force if any(rule.matches(case) for case in cases))
        findings += [_apply(rule, places, have, declaration.overrides) for rule in matched]
        findings += _silence(rule_set.title, in_force, places, cases)
    findings.sort(key=lambda f: (-f.outcome.severity, not f.is_final, f.rule))
    outcome = max((f.outcome for f in findings), key=lambda o: o.severity, default=Outcome.DENY)
    return Verdict(outcome, tuple(findings), declaration.digest, rules.digest, at)


def approve(declaration: Declaration, rules: RuleBook, at: datetime) -> ReviewApproved:
    """Return the approval of a review, to be signed by the data-protection officer.

    Raises:
        DeniedError: It is not under review, or the papers are not complete.
    """
    verdict = decide_use(declaration, rules, at)
    if verdict.outcome is Outcome.DENY:
        rule = verdict.findings[0].rule if verdict.findings else "no rule"
        raise DeniedError(f"{rule} denies this use, and an approval cannot change that")
    if verdict.outcome is Outcome.ALLOW:
        raise DeniedError("the rules allow this use; there is nothing to approve")
    if verdict.missing:
        raise DeniedError(f"not approved: still missing {', '.join(verdict.missing)}")
    return ReviewApproved(declaration=declaration.digest)


def _apply(
    rule: Rule, places: tuple[str, ...], have: frozenset[str], overrides: tuple[str, ...]
) -> Finding:
    """What a rule that matched comes to, with the evidence there is."""
    missing = tuple(kind for kind in rule.needs if kind not in have)
    was_lifted = bool(rule.overridable) and rule.id in overrides and not missing
    outcome = Outcome.REVIEW if was_lifted else rule.verdict
    if rule.verdict is Outcome.ALLOW and missing:
        outcome = Outcome.DENY
    return Finding(
        rule=rule.id,
        source=rule.source,
        outcome=outcome,
        why=rule.why,
        jurisdictions=places,
        missing=missing,
        duties=rule.duties,
        signers=rule.signers if outcome is Outcome.REVIEW else 0,
        is_final=rule.overridable is False,
        may_be_lifted=bool(rule.overridable) and not was_lifted,
        was_lifted=was_lifted,
    )


def _cases(declaration: Declaration) -> Iterator[dict[str, str]]:
    fields = list(VOCABULARY)
    known = ([v for v in getattr(declaration, f) if v in VOCABULARY[f]] for f in fields)
    for values in itertools.product(*known):
        yield dict(zip(fields, values, strict=True))


def _unknown_words(declaration: Declaration) -> Iterator[Finding]:
    words = [(f, v, VOCABULARY[f]) for f in VOCABULARY for v in getattr(declaration, f)]
    words.append(("consent", declaration.consent, tuple(CONSENT_GRADES)))
    for field, value, known in words:
        if value not in known:
            why = f"{field}: no rule knows {value!r}. Known: {', '.join(known)}"
            yield Finding("omote:unknown-word", "deny by default", Outcome.DENY, why)


def _unknown_places(declaration: Declaration, rules: RuleBook, at: datetime) -> Iterator[Finding]:
    laws = [s for s, _ in rules.in_force(at) if s.is_of_a_place]
    for place in declaration.jurisdictions.union:
        if not any(law.covers(place) for law in laws):
            why = f"No rule set in force is the law of {place!r}; a site can add its own"
            yield Finding(
                "omote:unknown-jurisdiction", "deny by default", Outcome.DENY, why, (place,)
            )


def _silence(
    title: str, rules: Iterable[Rule], places: tuple[str, ...], cases: list[dict[str, str]]
) -> Iterator[Finding]:
    rules = tuple(rules)
    silent = next((c for c in cases if not any(r.matches(c) for r in rules)), None)
    if silent is not None:
        case = ", ".join(f"{field} {value}" for field, value in silent.items())
        why = f"{title} has no rule that permits: {case}"
        yield Finding("omote:no-rule-permits", title, Outcome.DENY, why, places)
