"""What a site tells of its privacy ledger: size and root of a tree over its lines, and no line."""

from __future__ import annotations

from collections.abc import Sequence

from consent import merkle
from consent.ledger_state import LedgerHead, LedgerState
from core_model.privacy.ledger_lines import LedgerError


def ledger_state(lines: Sequence[bytes], seen: LedgerHead | None) -> LedgerState:
    """Return the head of a ledger, with the proof that it extends the one that was seen.

    Raises:
        LedgerError: It does not.
    """
    check_extends(lines, seen)
    tree, size = _tree(lines), len(lines)
    proof = merkle.consistency_proof(tree, seen.size, size) if seen else []
    head = LedgerHead(size=size, root=merkle.root(tree, size).hex())
    return LedgerState(head=head, consistency=tuple(h.hex() for h in proof))


def check_extends(lines: Sequence[bytes], seen: LedgerHead | None) -> None:
    """Check that a ledger begins with the lines of a head that was told before.

    Raises:
        LedgerError: It is shorter or another one.
    """
    if seen is None:
        return
    if len(lines) < seen.size or merkle.root(_tree(lines), seen.size).hex() != seen.root:
        raise LedgerError(
            f"the privacy ledger has {len(lines)} lines and does not extend the {seen.size} that "
            "were told before: was it restored from an old backup? What was spent since then is "
            "missing: find the newest copy; going on with this one would break what people were "
            "promised"
        )


def _tree(lines: Sequence[bytes]) -> merkle.Node:
    return merkle.tree_of(merkle.leaf_hashes(lines))
