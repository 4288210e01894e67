"""Which recordings take part in a round: the site's list joined with the gate's ruling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from consent.gate import AssetRuling, ConsentGate
from consent.manifest import Leaf
from consent.model import Purpose
from core_model.data.recordings import Recording
from core_model.protocol.messages import RefusalCode, RoundPlan
from fl_client.crop_cache import asset_of, is_cached
from fl_client.errors import RoundRefusedError


@dataclass(frozen=True)
class Selection:
    """Recordings that may be used, and the ruling that allows it."""

    recordings: tuple[Recording, ...]
    ruling: AssetRuling

    def leaves(self) -> tuple[Leaf, ...]:
        """Return the manifest's leaves: each recording, its frames, and the consent for them.

        One that the site lists twice is one leaf.
        """
        leaves: dict[bytes, Leaf] = {}
        for recording in self.recordings:
            digest = recording_digest(recording.frames)
            own = self.ruling.ruling.entries[recording.subject_id]
            known = leaves[digest].entries if digest in leaves else ()
            entries = {own, *known, *self.ruling.entries_of(digest.hex())}
            leaves[digest] = Leaf(digest, tuple(sorted(entries)), recording.usable or ())
        return tuple(leaves.values())

    def people(self) -> frozenset[str]:
        """Return everyone who may be seen in what is used: whose budget a round is charged to."""
        digests = {recording_digest(r.frames).hex() for r in self.recordings}
        seen = {s for digest in digests for s in self.ruling.subjects.get(digest, ())}
        return frozenset(seen | {r.subject_id for r in self.recordings})


def select(
    recordings: Sequence[Recording],
    gate: ConsentGate,
    plan: RoundPlan,
    min_subjects: int,
    affordable: Callable[[frozenset[str]], frozenset[str]] = frozenset,
) -> Selection:
    """Keep the recordings of people whose consent covers the plan's purpose now.

    Of a recording that is linked in the consent log, only frames in which everyone agrees are
    kept. One that is not linked shows one person, as the site's list says. In a private round a
    recording that shows more people is left out: each frame must be of one person alone, or a
    person would be in several units.

    Args:
        recordings: The site's.
        gate: Rules on consent.
        plan: Of the round.
        min_subjects: With fewer people there is no round.
        affordable: Of people who agree, returns those with enough privacy budget left.

    Raises:
        RoundRefusedError: Nobody is left, or too few people.
    """
    purpose = Purpose(plan.purpose)
    usable = [r for r in recordings if plan.purpose == "pretraining" or r.labels is not None]
    agreed = gate.rule({r.subject_id for r in usable}, purpose).allowed
    allowed = affordable(agreed)
    digests = {r: recording_digest(r.frames).hex() for r in usable if r.subject_id in allowed}
    ruling = gate.rule_assets(digests.values(), purpose, {r.subject_id for r in digests})
    others = {s for people in ruling.subjects.values() for s in people} - allowed
    may_be_seen = allowed | affordable(frozenset(others))
    kept = tuple(
        recording
        for recording, digest in _kept(digests, ruling)
        if _fits(recording, set(ruling.subjects.get(digest, ())), plan, may_be_seen)
    )
    if not kept and agreed and not allowed:
        raise RoundRefusedError(RefusalCode.BUDGET_SPENT, "nobody has enough of the budget left")
    if not kept:
        raise RoundRefusedError(RefusalCode.NO_CONSENTED_DATA, "nobody agrees to this purpose")
    if len({r.subject_id for r in kept}) < min_subjects:
        few = RefusalCode.TOO_FEW_SUBJECTS if allowed == agreed else RefusalCode.BUDGET_SPENT
        raise RoundRefusedError(few, f"fewer than {min_subjects} people")
    return Selection(kept, ruling)


def may_use(
    recordings: Sequence[Recording], gate: ConsentGate, purpose: Purpose
) -> tuple[Recording, ...]:
    """Return what consent to a purpose allows of some recordings now, outside of rounds."""
    digests = {r: recording_digest(r.frames).hex() for r in recordings}
    ruling = gate.rule_assets(digests.values(), purpose, {r.subject_id for r in recordings})
    return tuple(recording for recording, _ in _kept(digests, ruling))


def _fits(
    recording: Recording, seen: set[str], plan: RoundPlan, may_be_seen: frozenset[str]
) -> bool:
    """Can everyone who is seen afford it? In a private round: is it of one person alone?"""
    if plan.privacy is not None:
        return seen <= {recording.subject_id}
    return seen <= may_be_seen


def _kept(digests: Mapping[Recording, str], ruling: AssetRuling) -> Iterator[tuple[Recording, str]]:
    """Yield what consent allows of each recording, with its digest."""
    for recording, digest in digests.items():
        if recording.subject_id not in ruling.ruling.allowed:
            continue
        if digest in ruling.unlinked:
            yield recording, digest
        elif frames := ruling.frames[digest]:
            yield recording.model_copy(update={"usable": frames.ranges}), digest


def recording_digest(frames: Path) -> bytes:
    """Return SHA-256 over the names and bytes of a recording's frames.

    Read again only when a frame came, went, or was written to. Crops in the cache are known by the
    digest of the recording that they were cut from.
    """
    if is_cached(frames):
        return asset_of(frames)
    seen = ((path, path.stat()) for path in sorted(frames.glob("*.png")))
    return _digest(tuple((path, s.st_mtime_ns, s.st_size) for path, s in seen))


@lru_cache(maxsize=100_000)
def _digest(frames: tuple[tuple[Path, int, int], ...]) -> bytes:
    """Hash the frames; time and size are there to tell changed files apart."""
    h = hashlib.sha256()
    for path, _, _ in frames:
        h.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return h.digest()
