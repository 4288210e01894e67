"""How a server checks an attestation before an update counts. Milliseconds, no disk, no network."""

from __future__ import annotations

from dataclasses import dataclass

from consent import merkle
from consent.attestation import Attestation, open_attestation
from consent.epsilon import GaussianNoise, Spent, add_spent, check_epsilon
from consent.errors import AttestationError, LogRolledBackError, ProofError
from consent.keys import VerifierKey
from consent.ledger_state import LedgerHead, check_ledger
from consent.model import Purpose
from consent.note import TreeHead, open_tree_head


@dataclass(frozen=True)
class Expected:
    """What the server asked for and got, and what it demands of every site."""

    site: str
    run_id: str
    round: int
    purpose: Purpose
    nonce: str
    model_in: str
    update: str
    min_subjects: int
    tree_size: int = 0  # of the site's log, as the plan named it
    tree_head: TreeHead | None = None  # of that size, cosigned in whatever run; None: as in seen
    policy: str | None = None  # digest of the rules that were agreed; None: any
    code: frozenset[str] = frozenset()  # digests of the software that was agreed; none: any
    needs_noise: bool = False
    max_epsilon: str | None = None  # for all rounds of a site


@dataclass(frozen=True)
class Seen:
    """What the server remembers of a site from one round to the next."""

    tree_head: TreeHead
    digest: str  # of the last attestation that was admitted
    spent: tuple[Spent, ...] = ()
    epsilon_total: str | None = None
    ledger: LedgerHead | None = None


def verify_attestation(
    envelope: bytes,
    *,
    site_key: VerifierKey,
    log_key: VerifierKey,
    expected: Expected,
    seen: Seen | None,
) -> tuple[Attestation, Seen]:
    """Check an attestation; return it and what to remember.

    Raises:
        MalformedError: Not an attestation.
        BadSignatureError: Not signed by the site, or a tree head not by the site's log.
        AttestationError: Made for another site, round, purpose, model or update, or under other
            rules, by other software, with less noise than it says, or on a ledger that restarted.
        LogRolledBackError: Its log does not extend the one that was seen before.
    """
    # (1) signed by this site
    opened = open_attestation(envelope, site_key)
    attestation = opened.attestation
    # (2) about this very update, asked for in this very round, after the one admitted before
    _check_expected(attestation, expected, seen)
    # (3) resting on this site's consent log, which only grew: since the server saw it last, and
    # (4) while the round ran
    head = _check_log(attestation, log_key, expected, seen)
    # (5) with the noise that its parameters mean, within the budget
    spent, total, ledger = _check_noise(attestation, expected, seen)
    return attestation, Seen(head, opened.digest, spent, total, ledger)


def _check_expected(got: Attestation, want: Expected, seen: Seen | None) -> None:
    checks = {
        "wrong_site": (got.site, want.site),
        "wrong_round": ((got.run_id, got.round, got.nonce), (want.run_id, want.round, want.nonce)),
        "wrong_purpose": (got.purpose, want.purpose),
        "wrong_model": (got.model_in, want.model_in),
        "wrong_update": (got.update, want.update),
        "broken_chain": (got.previous, (seen.digest or None) if seen else None),
        "wrong_policy": (got.policy, want.policy or got.policy),
    }
    for code, (is_, should) in checks.items():
        if is_ != should:
            raise AttestationError(code, f"expected {should}, got {is_}")
    if want.code and got.code.sha256 not in want.code:
        raise AttestationError("wrong_code", f"{got.code.name}: not among the agreed software")
    if got.min_subjects < want.min_subjects:
        raise AttestationError("too_few_subjects", f"expected at least {want.min_subjects}")


def _check_log(
    got: Attestation, log_key: VerifierKey, want: Expected, seen: Seen | None
) -> TreeHead:
    start = open_tree_head(got.consent.start_head, log_key)
    end = open_tree_head(got.consent.tree_head, log_key)
    if start.size < want.tree_size:
        raise LogRolledBackError(
            f"{start.origin}: {start.size} entries at the start, {want.tree_size} seen before"
        )
    _check_grown(start, end, got.consent.since_start)
    last = want.tree_head or (seen.tree_head if seen is not None else None)
    if last is not None:
        _check_grown(last, end, got.consent.consistency)
    return end


def _check_grown(old: TreeHead, new: TreeHead, proof: tuple[str, ...]) -> None:
    try:
        hashes = [bytes.fromhex(h) for h in proof]
        merkle.verify_consistency(old.size, new.size, old.root, new.root, hashes)
    except (ProofError, ValueError) as e:
        raise LogRolledBackError(
            f"{new.origin}: {new.size} entries do not extend the {old.size} seen before"
        ) from e


def _check_noise(
    got: Attestation, want: Expected, seen: Seen | None
) -> tuple[tuple[Spent, ...], str | None, LedgerHead | None]:
    before, last_total = (seen.spent, seen.epsilon_total) if seen else ((), None)
    last_ledger = seen.ledger if seen else None
    if not isinstance(got.privacy, GaussianNoise):
        if want.needs_noise:
            raise AttestationError("wrong_epsilon", "this federation demands noise")
        return before, last_total, last_ledger
    ledger = check_ledger(got.privacy.ledger, last_ledger)
    check_epsilon(got.privacy, before, last_total, want.max_epsilon)
    return add_spent(before, got.privacy.spent()), got.privacy.epsilon_total, ledger
