"""The site's policy in its consent log: which rules it goes by, what was decided, who approved.

The log names rule sets and their digest; sets of the site's own lie in ``<folder>/rules``.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from consent.errors import DeniedError, MalformedError, RecordError
from consent.model import Role
from consent.policy import Declaration, Verdict, approve, decide_use
from consent.registry import Registry
from consent.rulebook import Outcome, RuleBook, RuleSet, load_rule_book, parse_rule_set
from consent.site_events import EvidenceAdded, PolicySet
from consent.state import State

OWN_RULES = "rules"


def set_rules(registry: Registry, enable: list[str], own: list[Path]) -> RuleBook:
    """Log which rules hold from here on, and keep copies of the site's own.

    Raises:
        MalformedError: No such set, or a file is not a rule set.
    """
    texts = [path.read_text("utf-8") for path in own]
    sets = [parse_rule_set(t, path.name) for t, path in zip(texts, own, strict=True)]
    book = load_rule_book(enable, sets)
    folder = registry.folder / OWN_RULES
    folder.mkdir(exist_ok=True, mode=0o700)
    for rule_set, text in zip(sets, texts, strict=True):
        beside = folder / f"{rule_set.name}.new"
        beside.write_text(text, "utf-8")
        beside.replace(folder / f"{rule_set.name}.toml")
    registry.append([PolicySet(sha256=book.digest, names=book.names)], Role.DPO)
    return book


def site_rules(registry: Registry) -> RuleBook:
    """Return the rules that the log says hold.

    Raises:
        DeniedError: No rules were set, or the files are not what the log says.
    """
    policies = registry.state().policies
    if not policies:
        raise DeniedError("no rules were set for this site; run: omote-consent policy set")
    names = set(policies[-1].event.names)
    own = tuple(s for s in _own_sets(registry.folder) if s.name in names)
    try:
        book = load_rule_book(names - {s.name for s in own}, own)
    except MalformedError as e:
        raise DeniedError(f"the rules that the log names are not here: {e}") from e
    if book.digest != policies[-1].event.sha256:
        raise DeniedError(
            f"the rule files differ from entry {policies[-1].index}, which set them: after an "
            "update or an edit, the data-protection officer must run: omote-consent policy set"
        )
    return book


def add_evidence(
    registry: Registry, kind: str, document: Path, valid_until: datetime | None
) -> EvidenceAdded:
    """Log a document by its digest. The document stays where it is."""
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    event = EvidenceAdded(kind=kind, sha256=digest, valid_until=valid_until)
    registry.append([event], Role.DPO)
    return event


def log_decision(registry: Registry, declaration: Declaration) -> Verdict:
    """Decide on a declared use by the site's rules, and log it.

    Raises:
        RecordError: The declaration names evidence that is not in the log.
        DeniedError: The site has no rules.
    """
    _check_evidence(registry.state(), declaration)
    verdict = decide_use(declaration, site_rules(registry), registry.now())
    registry.append([verdict.event(declaration)], Role.OPERATOR)
    return verdict


def log_approval(registry: Registry, declaration: Declaration, role: Role) -> int:
    """Log that someone answers for a use under review; return the index of the entry.

    Raises:
        DeniedError: It is denied, allowed, incomplete, or was not decided under these rules.
    """
    rules = site_rules(registry)
    event = approve(declaration, rules, registry.now())
    if _decided_at(registry.state(), declaration, rules) is None:
        raise DeniedError("not decided under the rules that hold; run: omote-consent policy decide")
    return registry.append([event], role).start


def require_permission(
    state: State, declaration: Declaration, rules: RuleBook, at: datetime
) -> None:
    """Check that a declared use may go ahead now. Approvals before the last decision do not count.

    Raises:
        DeniedError: It may not. Says what is missing.
    """
    _check_evidence(state, declaration)
    verdict = decide_use(declaration, rules, at)
    decided = _decided_at(state, declaration, rules)
    if decided is None and verdict.outcome is not Outcome.DENY:
        raise DeniedError("not decided under the rules that hold; run: omote-consent policy decide")
    _require(state, declaration, verdict, decided or 0)


def _require(state: State, declaration: Declaration, verdict: Verdict, decided: int) -> None:
    """Check a verdict that was logged as entry ``decided``."""
    if verdict.outcome is Outcome.DENY:
        raise DeniedError(f"denied by {verdict.findings[0].rule}: {verdict.findings[0].why}")
    if verdict.missing:
        raise DeniedError(f"under review, and missing {', '.join(verdict.missing)}")
    approvals = [
        r for r in state.reviews if r.index > decided and r.event.declaration == declaration.digest
    ]
    signers = {r.key_id for r in approvals}
    roles = {state.keys.role_of(key) for key in signers}
    if len(signers) < verdict.signers or (verdict.signers and Role.DPO not in roles):
        raise DeniedError(
            f"under review: approved by {len(signers)} of {verdict.signers}, one of whom must be "
            "the data-protection officer; run: omote-consent policy approve"
        )


def permit(registry: Registry, declaration: Declaration) -> Verdict:
    """Decide on a use anew; log the decision if it is not the last one logged; return it.

    Raises:
        RecordError: The declaration names evidence that is not in the log.
        DeniedError: The use may not go ahead, or the site has no rules. The decision is logged.
    """
    rules = site_rules(registry)
    with registry.journal.writing() as state:
        _check_evidence(state, declaration)
        at = registry.now()
        verdict = decide_use(declaration, rules, at)
        event = verdict.event(declaration)
        before = [d for d in state.decisions if d.event.declaration == declaration.digest]
        if before and before[-1].event == event:
            decided = before[-1].index
        else:
            decided = registry.append([event], Role.OPERATOR).start
        _require(registry.state(), declaration, verdict, decided)
    return verdict


def _decided_at(state: State, declaration: Declaration, rules: RuleBook) -> int | None:
    """Index of the last decision on a declaration, if it was made by these rules."""
    found = [d for d in state.decisions if d.event.declaration == declaration.digest]
    return found[-1].index if found and found[-1].event.policy == rules.digest else None


def _check_evidence(state: State, declaration: Declaration) -> None:
    for evidence in declaration.evidence:
        logged = state.evidence.get(evidence.sha256)
        if logged is None or logged.event.kind != evidence.kind:
            raise RecordError(
                f"evidence {evidence.kind} of this digest is not in the log; run: "
                f"omote-consent policy evidence {evidence.kind} FILE"
            )
        until = logged.event.valid_until
        if until is not None and (evidence.valid_until is None or evidence.valid_until > until):
            raise RecordError(f"evidence {evidence.kind}: the log says valid until {until}")


def _own_sets(folder: Path) -> tuple[RuleSet, ...]:
    return tuple(
        parse_rule_set(path.read_text("utf-8"), path.name)
        for path in sorted((folder / OWN_RULES).glob("*.toml"))
    )
