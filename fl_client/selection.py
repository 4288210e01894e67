"""Which recordings take part in a round: the site's list joined with the gate's ruling."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
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


def select(
    recordings: Sequence[Recording], gate: ConsentGate, plan: RoundPlan, min_subjects: int
) -> Selection:
    """Keep the recordings of people whose consent covers the plan's purpose now.

    Of a recording that is linked in the consent log, only frames in which everyone agrees are
    kept. One that is not linked shows one person, as the site's list says.

    Raises:
        RoundRefusedError: Nobody is left, or too few people.
    """
    purpose = Purpose(plan.purpose)
    usable = [r for r in recordings if plan.purpose == "pretraining" or r.labels is not None]
    allowed = gate.rule({r.subject_id for r in usable}, purpose).allowed
    digests = {r: recording_digest(r.frames).hex() for r in usable if r.subject_id in allowed}
    ruling = gate.rule_assets(digests.values(), purpose, {r.subject_id for r in digests})
    kept = tuple(_kept(digests, ruling))
    if not kept:
        raise RoundRefusedError(RefusalCode.NO_CONSENTED_DATA, "nobody agrees to this purpose")
    if len({r.subject_id for r in kept}) < min_subjects:
        raise RoundRefusedError(RefusalCode.TOO_FEW_SUBJECTS, f"fewer than {min_subjects} people")
    return Selection(kept, ruling)


def _kept(digests: Mapping[Recording, str], ruling: AssetRuling) -> Iterator[Recording]:
    for recording, digest in digests.items():
        if recording.subject_id not in ruling.ruling.allowed:
            continue
        if digest in ruling.unlinked:
            yield recording
        elif frames := ruling.frames[digest]:
            yield recording.model_copy(update={"usable": frames.ranges})


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
