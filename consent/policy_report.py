"""A verdict in plain words, for people who must act on it."""

from __future__ import annotations

from collections.abc import Iterator

from consent.policy import Declaration, Finding, Verdict
from consent.rulebook import Outcome

DISCLAIMER = (
    "This checks what was declared, not what is done: Omote cannot see how someone uses the "
    "numbers of a model. It is no legal advice."
)
EVIDENCE = {
    "collaboration_agreement": "agreement with those who made the data",
    "counsel_opinion": "written opinion of a lawyer",
    "dpia": "data-protection impact assessment (GDPR, Article 35)",
    "ethics_approval": "vote of an ethics committee",
    "explicit_consent": "explicit consent of every person, to each purpose",
    "expressed_consent": "consent of every person, to each purpose",
    "fria": "fundamental-rights impact assessment (EU AI Act, Article 27)",
    "high_risk_file": "technical file of a high-risk system (EU AI Act, Articles 9 to 15)",
    "legal_basis": "legal basis other than consent, written down",
    "licence": "licence of the data",
    "necessity_statement": "reasons why nothing milder would do",
    "nonprofit_statement": "statement that the organisation is not for profit",
    "output_limits": "list of what the output may hold and who may see it",
    "posted_notice": "notice that people see before they are filmed",
    "retention_schedule": "schedule of deletion, published",
    "transfer_basis": "contract or decision that permits the transfer",
    "use_statement": "statement of intended and prohibited uses that goes with the model",
    "worker_information": "proof that workers and their representatives were told",
    "written_release": "written release, signed by every person",
}
_HEADLINES = {
    Outcome.ALLOW: "ALLOW. The rules permit this use as declared.",
    Outcome.REVIEW: "REVIEW. Not yet: a person must answer for it.",
    Outcome.DENY: "DENY. The rules do not permit this use.",
}


def explain(verdict: Verdict, declaration: Declaration) -> Iterator[str]:
    """Yield the lines of a report: the answer, every reason, what is missing, what stays open."""
    yield _HEADLINES[verdict.outcome]
    yield f"Declared: {declaration.title}"
    yield f"Law of: {', '.join(declaration.jurisdictions.union)}, at {verdict.at.isoformat()}"
    for finding in verdict.findings:
        yield ""
        yield from _finding(finding, declaration)
    yield ""
    if verdict.outcome is Outcome.REVIEW:
        who = "the data-protection officer" + (
            " and a second person" if verdict.signers > 1 else ""
        )
        yield f"To go on: {who} must approve" + (
            " once nothing is missing." if verdict.missing else "."
        )
    yield f"Declaration sha256 {verdict.declaration}"
    yield f"Rules sha256       {verdict.policy}"
    yield DISCLAIMER


def _finding(finding: Finding, declaration: Declaration) -> Iterator[str]:
    where = f" [{', '.join(finding.jurisdictions)}]" if finding.jurisdictions else ""
    yield f"{finding.outcome.value:6} {finding.rule}{where}"
    yield f"       {finding.why}"
    if finding.source != "deny by default":
        yield f"       Source: {finding.source}"
    for kind in finding.missing:
        expired = [e.valid_until for e in declaration.evidence if e.kind == kind and e.valid_until]
        past = f"; the one given expired on {max(expired).date()}" if expired else ""
        yield f"       Missing: {kind}, {EVIDENCE.get(kind, 'a document')}{past}"
    if finding.is_final:
        yield "       No approval and no consent can lift this."
    elif finding.was_lifted:
        yield "       Denied by default; lifted into a review, as the declaration asks."
    elif finding.may_be_lifted:
        yield "       With nothing missing, 'overrides' may ask for a review by two people."
    for duty in finding.duties:
        yield f"       Your duty, which nobody checks here: {duty}"
