"""What an attestation says of a site's privacy ledger: that it only grew. Never what is in it.

Size and root of an RFC 9162 tree over the ledger's lines, and a proof from what the server saw
last. The lines stay at the site; each is chained to a first one that nobody outside can guess, so
hashes in a proof tell nothing about them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from consent import merkle
from consent.errors import AttestationError, ProofError

MAX_PROOF = 64  # hashes; a ledger of 2^63 lines needs no more


class LedgerHead(BaseModel):
    """Number of lines, and the root of the tree over them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int = Field(ge=1)
    root: str = Field(pattern="^[0-9a-f]{64}$")


class LedgerState(BaseModel):
    """The ledger after a round's charges."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    head: LedgerHead
    consistency: tuple[str, ...] = Field((), max_length=MAX_PROOF)  # with the head seen last, hex


def check_ledger(stated: LedgerState | None, seen: LedgerHead | None) -> LedgerHead | None:
    """Check that a ledger extends the one seen before; return what to remember.

    Raises:
        AttestationError: ``ledger_restarted``: it does not, or a round left no line in it.
    """
    if seen is None:
        return stated.head if stated else None
    if stated is None:
        raise AttestationError("ledger_restarted", "a ledger was seen before, now there is none")
    head = stated.head
    if head.size <= seen.size:
        raise AttestationError(
            "ledger_restarted", f"expected more than the {seen.size} lines seen, got {head.size}"
        )
    try:
        proof = [bytes.fromhex(h) for h in stated.consistency]
        roots = bytes.fromhex(seen.root), bytes.fromhex(head.root)
        merkle.verify_consistency(seen.size, head.size, *roots, proof)
    except (ProofError, ValueError) as e:
        raise AttestationError(
            "ledger_restarted", f"{head.size} lines do not extend the {seen.size} seen before"
        ) from e
    return head
