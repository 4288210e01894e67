"""Which rounds a model came from, and whether a person's data was used in it.

Three answers: used, not used, cannot be determined. Never 'removed': only training again without
the person makes a model that does not hold them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.audit.rounds import RoundCheck
from consent.errors import RecordError
from consent.manifest import LeafProof, prove_leaf
from consent.state import State


class Used(enum.StrEnum):
    """The three answers."""

    YES = "used"
    NO = "not_used"
    UNKNOWN = "cannot_be_determined"


@dataclass(frozen=True)
class Lineage:
    """What a model came from, as far as this site's log tells."""

    model: str
    rounds: frozenset[tuple[str, int]]  # run and number
    ancestors: tuple[str, ...]  # published models that it descends from
    unknown: tuple[str, ...]  # what it descends from that this log knows nothing of


@dataclass(frozen=True)
class Use:
    """One round with a person in it: the update that was sent, and a proof for each recording."""

    check: RoundCheck
    proofs: tuple[LeafProof, ...]
    was_admitted: bool | None  # None: no later plan tells


@dataclass(frozen=True)
class Answered:
    """Was a person used in a model?"""

    used: Used
    why: str
    uses: tuple[Use, ...]


def lineage_of(state: State, model: str) -> Lineage:
    """Trace a model to its rounds: a published one, or one that a signed round began from.

    A run's rounds build on each other, so all of them up to the last one named are taken in.

    Raises:
        RecordError: The log names no such model.
    """
    if model not in state.models:
        return _unpublished(state, model)
    rounds: set[tuple[str, int]] = set()
    ancestors: list[str] = []
    unknown: list[str] = []
    queue = [model]
    while queue:
        event = state.models[queue.pop()].event
        last = max(event.rounds, default=0)
        rounds |= {(event.run_id, n) for n in _signed_in(state, event.run_id) if n <= last}
        for parent in event.parents:
            if parent in state.models and parent not in ancestors and parent != model:
                ancestors.append(parent)
                queue.append(parent)
            elif parent not in state.models:
                unknown.append(parent)
    return Lineage(model, frozenset(rounds), tuple(ancestors), tuple(unknown))


def was_used(
    lineage: Lineage, checks: Sequence[RoundCheck], subject_id: str, *, is_known: bool = True
) -> Answered:
    """Answer for one person and one model.

    Args:
        lineage: Of the model.
        checks: All signed rounds of the log, checked.
        subject_id: The person.
        is_known: Whether the log knows the person, erased or not.
    """
    inside = [c for c in checks if (c.item.event.run_id, c.item.event.round) in lineage.rounds]
    uses = tuple(use for c in inside if (use := _use(c, checks, subject_id)) is not None)
    counted = [use for use in uses if use.was_admitted is not False]
    if counted:
        names = ", ".join(use.check.name for use in counted)
        return Answered(Used.YES, f"in the updates that this site signed for {names}", uses)
    if not is_known:
        return Answered(Used.UNKNOWN, "the log knows no such person: erased, or never there", uses)
    if lineage.unknown:
        why = f"it descends from {_short(lineage.unknown)}, of which this log knows nothing"
        return Answered(Used.UNKNOWN, why, uses)
    open_ = [c for c in inside if not c.is_recomputed and was_admitted(c, checks) is not False]
    if open_:
        names = ", ".join(c.name for c in open_)
        return Answered(Used.UNKNOWN, f"what was used cannot be recomputed for {names}", uses)
    why = f"no recomputed manifest of its {len(inside)} signed round(s) names this person"
    return Answered(Used.NO, why, uses)


def was_admitted(check: RoundCheck, checks: Iterable[RoundCheck]) -> bool | None:
    """Tell from later attestations whether the server took this one. None: they do not tell.

    Each names the one of this site that was admitted before it.
    """
    event = check.item.event
    later = [
        c
        for c in checks
        if c.attestation is not None
        and c.item.event.run_id == event.run_id
        and c.item.event.round > event.round
    ]
    if any(c.attestation and c.attestation.previous == check.digest for c in later):
        return True
    return False if later and check.digest else None


def _use(check: RoundCheck, checks: Sequence[RoundCheck], subject_id: str) -> Use | None:
    if check.kept is None or not check.is_recomputed or subject_id not in check.subjects:
        return None
    leaves, salt = check.kept.opened(), bytes.fromhex(check.kept.salt)
    places = dict.fromkeys(check.subjects[subject_id])
    proofs = tuple(prove_leaf(leaves, salt, leaves[at].asset) for at in places)
    return Use(check, proofs, was_admitted(check, checks))


def _unpublished(state: State, model: str) -> Lineage:
    began = [item.event for item in state.rounds if item.event.model_in == model]
    if not began:
        raise RecordError(
            f"this log names no model {model[:16]}; see: omote-consent audit model --list"
        )
    event = began[0]
    rounds = {(event.run_id, n) for n in _signed_in(state, event.run_id) if n < event.round}
    return Lineage(
        model, frozenset(rounds), (), (f"the checkpoint that {event.run_id} began from",)
    )


def _signed_in(state: State, run_id: str) -> set[int]:
    return {item.event.round for item in state.rounds if item.event.run_id == run_id}


def _short(names: Iterable[str]) -> str:
    return ", ".join(n[:16] if len(n) == 64 else n for n in names)
