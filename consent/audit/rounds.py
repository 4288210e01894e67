"""Recompute every round that a site signed: its statement, its manifest, the consent behind it.

Pure: entries, kept manifests and roots go in, faults come out. A fault is something that is not as
it was signed; what is merely missing is said apart, for it proves nothing either way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consent.assets import usable_frames
from consent.attestation import Attestation, open_attestation
from consent.audit.manifests import recompute
from consent.errors import ConsentError
from consent.events import ConsentEvent
from consent.kept import KeptLeaf, KeptManifest
from consent.keys import VerifierKey
from consent.model import Role
from consent.note import TreeHead, open_tree_head
from consent.roles import KeyRing
from consent.site_events import RoundSigned
from consent.standing import Logged
from consent.state import State, Status, decide
from consent.subject_events import ConsentGiven

History = Callable[[], Iterable[tuple[int, datetime, str, ConsentEvent | None]]]
"""Reads the log from its beginning: index, time, key id and event (None: erased)."""

Roots = Callable[[int], bytes]
"""The root of the log's first so many entries."""


@dataclass
class RoundCheck:
    """One signed round, and what was found about it."""

    item: Logged[RoundSigned]
    attestation: Attestation | None = None  # None: it does not open
    digest: str = ""
    kept: KeptManifest | None = None
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)  # leaves of each person
    is_recomputed: bool = False  # the kept manifest is the signed one, and names every person

    @property
    def name(self) -> str:
        """The run and the round."""
        return f"{self.item.event.run_id}/{self.item.event.round}"


def check_rounds(
    state: State, history: History, kept: Mapping[str, KeptManifest], root_at: Roots
) -> list[RoundCheck]:
    """Check all signed rounds of a log whose entries were verified before.

    Args:
        state: The whole log.
        history: The same, to be replayed: consent is judged by what the log said back then.
        kept: What the site kept, by digest of the attestation.
        root_at: Roots of the verified log.
    """
    checks = [open_round(item, state.keys, kept) for item in state.rounds]
    people = _people(state)
    visits: dict[int, list[tuple[RoundCheck, str]]] = defaultdict(list)
    for check in checks:
        heads = check_heads(check, state.keys, root_at)
        if heads is not None:
            check_statement(check)
            _check_manifest(check)
            visits[heads[0].size].append((check, "began"))
            visits[heads[1].size].append((check, "ended"))
    replayed = State()
    for index, time, key_id, event in history():
        replayed.apply(index, time, key_id, event)
        if isinstance(event, ConsentGiven):
            people[index] = event.subject_id
        for check, moment in visits.get(index + 1, ()):
            _check_consent(check, replayed, people, moment)
    for check in checks:
        _name_people(check, people)
    return checks


def open_round(
    item: Logged[RoundSigned], keys: KeyRing, kept: Mapping[str, KeptManifest]
) -> RoundCheck:
    """Open the attestation with an operator's key that was valid at its entry."""
    for key in keys.keys.values():
        if key.role is not Role.OPERATOR or not key.is_active(item.index):
            continue
        try:
            verifier = VerifierKey.parse(key.vkey)
            opened = open_attestation(item.event.attestation.encode(), verifier)
        except ConsentError:
            continue
        return RoundCheck(item, opened.attestation, opened.digest, kept.get(opened.digest))
    return RoundCheck(item, faults=["no operator's key of this log signed the attestation"])


def check_heads(
    check: RoundCheck, keys: KeyRing, root_at: Roots
) -> tuple[TreeHead, TreeHead] | None:
    """Return the tree heads of the attestation, if they are of this log and in order."""
    if check.attestation is None:
        return None
    log_keys = [VerifierKey.parse(k.vkey) for k in keys.keys.values() if k.role is Role.LOG]
    consent = check.attestation.consent
    try:
        start, end = (
            open_tree_head(note, *log_keys) for note in (consent.start_head, consent.tree_head)
        )
    except ConsentError as e:
        check.faults.append(f"a tree head of the attestation does not hold: {e}")
        return None
    if not 0 < start.size <= end.size <= check.item.index:
        check.faults.append(
            f"it says that the log had {start.size} entries, then {end.size}; it is entry "
            f"{check.item.index}"
        )
        return None
    for head in (start, end):
        if root_at(head.size) != head.root:
            check.faults.append(f"the log's first {head.size} entries are not those it names")
            return None
    return start, end


def check_statement(check: RoundCheck) -> None:
    """Does the attestation say what the entry beside it says?"""
    event, said = check.item.event, check.attestation
    assert said is not None
    for name in ("run_id", "round", "purpose", "model_in", "update", "manifest"):
        if getattr(event, name) != getattr(said, name):
            check.faults.append(f"attestation and entry name different values of {name}")


def _check_manifest(check: RoundCheck) -> None:
    if check.kept is None:
        check.missing.append("what it was trained on was not kept: its manifest cannot be opened")
        return
    assert check.attestation is not None
    faults = recompute(check.kept, check.attestation, check.item.event.entries)
    check.faults += faults
    check.is_recomputed = not faults


def _people(state: State) -> dict[int, str]:
    """Return whom an entry is about, as far as an erasure tells; the rest comes with the replay."""
    return {
        entry: person.subject_id
        for person in state.subjects.values()
        if person.erased
        for entry in person.erased.event.entries
    }


def _check_consent(check: RoundCheck, then: State, people: Mapping[int, str], moment: str) -> None:
    """Judge each leaf by what the log said when the round began, or ended."""
    if check.kept is None or check.attestation is None:
        return
    said = check.attestation
    at = max(said.started_at if moment == "began" else said.ended_at, then.last_time)
    wrong: dict[str, int] = defaultdict(int)
    for leaf in check.kept.leaves:
        for entry in leaf.entries:
            person = people.get(entry)
            if person is None or entry in then.lost:
                continue
            decision = decide(then, person, said.purpose, at)
            if decision.status is not Status.ALLOWED:
                wrong[f"consent was {decision.status} when the round {moment}"] += 1
            elif moment == "began" and decision.index != entry:
                wrong[f"entry {entry} was not the consent in force when the round began"] += 1
        covered = [person for e in leaf.entries if (person := people.get(e)) is not None]
        if not _is_covered(leaf, then, covered, at):
            wrong[f"a face was not covered when the round {moment}"] += 1
    check.faults += [f"{number} recording(s): {why}" for why, number in sorted(wrong.items())]


def _is_covered(leaf: KeptLeaf, then: State, covered: Sequence[str], at: datetime) -> bool:
    """Is everyone who is seen in the frames that were used among those who agreed?

    A recording that the log does not know shows one person, as the site's list says.
    """
    linked = then.assets.get(leaf.asset)
    if linked is None:
        return True
    usable = usable_frames(linked, covered, at).ranges
    return bool(leaf.frames) and all(
        any(low <= first and last <= high for low, high in usable) for first, last in leaf.frames
    )


def _name_people(check: RoundCheck, people: Mapping[int, str]) -> None:
    """Note which leaves are of whom."""
    if check.kept is None or check.attestation is None:
        return
    nobody = 0
    for at, leaf in enumerate(check.kept.leaves):
        for entry in leaf.entries:
            if entry in people:
                check.subjects.setdefault(people[entry], []).append(at)
            else:
                nobody += 1
    if nobody:
        check.missing.append(f"{nobody} consent entries cannot be opened, and no erasure says why")
        check.is_recomputed = False
    elif len(check.subjects) < check.attestation.min_subjects:
        check.faults.append(
            f"it says that at least {check.attestation.min_subjects} people took part; there were "
            f"{len(check.subjects)}"
        )
