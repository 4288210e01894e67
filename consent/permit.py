"""A permit: the answer to a declared use as a file that other programs can ask for.

A line of canonical JSON as a C2SP note. A site signs it with the key of its data-protection
officer, after what was decided and approved in its log; without a site it carries no signature and
is no more than the user's own declaration, put to the rules that are shipped.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from consent.envelope import canonical_json
from consent.errors import DeniedError
from consent.keys import SigningKey
from consent.note import signature_line
from consent.policy import Declaration, Verdict
from consent.rulebook import Outcome

FORMAT = "omote.dev/permit/v1"
LIFETIME = timedelta(days=90)  # rules change: ask again


def permit_text(declaration: Declaration, verdict: Verdict, *, is_approved: bool = False) -> str:
    """Return the text of a permit.

    Args:
        declaration: What is to be done.
        verdict: What the rules say to it.
        is_approved: Everyone who must answer for a use under review has done so.

    Raises:
        DeniedError: The rules do not permit it, or a review is open.
    """
    if verdict.outcome is Outcome.DENY:
        raise DeniedError(f"denied by {verdict.findings[0].rule}: {verdict.findings[0].why}")
    if verdict.outcome is Outcome.REVIEW and not is_approved:
        raise DeniedError(
            "under review: a person must answer for it, in the log of a site; "
            "see: omote-consent policy decide, approve, then permit --folder"
        )
    ends = [e.valid_until for e in declaration.evidence if e.valid_until is not None]
    body = {
        "title": declaration.title,
        "declaration": verdict.declaration,
        "policy": verdict.policy,
        "rules": sorted({f.rule for f in verdict.findings}),
        "duties": sorted({duty for f in verdict.findings for duty in f.duties}),
        "output_kind": list(declaration.output_kind),
        "purposes": list(declaration.purposes),
        "decided_at": _seconds(verdict.at),
        "valid_until": _seconds(min([verdict.at + LIFETIME, *ends])),
    }
    return f"{FORMAT}\n{canonical_json(body).decode()}\n"


def sign_permit(text: str, key: SigningKey) -> str:
    """Return the permit as a note signed by ``key``."""
    line = signature_line(key.name, key.verifier.key_id + key.sign(text.encode()))
    return f"{text}\n{line}"


def _seconds(at: datetime) -> str:
    return at.replace(microsecond=0).isoformat()
