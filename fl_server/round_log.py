"""The append-only log of rounds: what was asked, who was admitted and refused, what came of it.

One JSON line an entry, in a Merkle tree as a site's consent log, under a tree head that the server
signs. An entry is written before the head that covers it: after a crash the log ends earlier, and
what the head does not cover is dropped and written again from the state of the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from consent import merkle
from consent.envelope import canonical_json, parse_json
from consent.errors import ConsentError
from consent.keys import SigningKey, VerifierKey
from consent.note import TreeHead, open_tree_head, sign_tree_head
from consent.private_file import sync_folder
from core_model.config import Purpose, Settings
from core_model.protocol.messages import RefusalCode
from fl_server.errors import RoundLogError
from fl_server.round_state import BranchPoint, RoundSummary

_SHA256 = "^[0-9a-f]{64}$"
ENTRIES, HEAD = "entries.jsonl", "tree-head"


class RoundEntry(Settings):
    """What the log says about one round. Names sites, never a person."""

    v: int = Field(1, ge=1, le=1)
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    ended_at: int = Field(ge=0)  # unix seconds
    config: str = Field(pattern=_SHA256)
    plan: str = Field(pattern=f"^$|{_SHA256}")  # empty: nobody could be asked
    admitted: dict[str, str]  # digest of each site's attestation
    tree_heads: dict[str, str]  # size and root of each admitted site's consent log
    refused: dict[str, RefusalCode]
    has_quorum: bool
    model_in: str = Field(pattern=_SHA256)
    model_out: str = Field(pattern=_SHA256)
    sum_lost: RefusalCode | None = None  # why a secure sum could not be used
    branch: BranchPoint | None = None  # of the first entry of a run that left another one

    def line(self) -> bytes:
        """Return the bytes that are hashed into the tree."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True)
class VerifiedLog:
    """A log that was checked: its head, and what it says."""

    head: TreeHead
    entries: tuple[RoundEntry, ...]


class RoundLog:
    """The log in a folder, open for appending.

    Raises:
        RoundLogError: What is there is not what was signed.
    """

    def __init__(self, folder: Path, key: SigningKey) -> None:
        self.folder, self._key = folder, key
        self._entries: list[RoundEntry] = []
        folder.mkdir(parents=True, exist_ok=True)
        found = (folder / ENTRIES).read_bytes() if (folder / ENTRIES).exists() else b""
        if (folder / HEAD).exists():
            self._entries += read_log(folder, key.verifier).entries
        elif len(_lines(found)) > 1:  # one can be of a first append that was interrupted
            raise RoundLogError(f"{folder / HEAD} is missing; bring it back from a backup")
        self._edge = merkle.Frontier()
        self._leaves: list[bytes] = []
        for entry in self._entries:
            self._add(entry.line())
        kept = b"".join(entry.line() + b"\n" for entry in self._entries)
        if found != kept:
            write_whole(folder / ENTRIES, kept)

    @property
    def entries(self) -> Sequence[RoundEntry]:
        """All that is logged."""
        return tuple(self._entries)

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """The hashes of all entries, from which anyone can recompute every head."""
        return tuple(self._leaves)

    @property
    def tree_head(self) -> str:
        """The signed head, also of a log that has no entry yet."""
        head = TreeHead(self._key.name, self._edge.size, self._edge.root())
        return sign_tree_head(head, self._key)

    def catch_up(
        self, run_id: str, summaries: Sequence[RoundSummary], branch: BranchPoint | None = None
    ) -> None:
        """Log the finished rounds of a run that are not logged yet.

        Args:
            run_id: Of the run.
            summaries: All its rounds.
            branch: Where it left another run, under which the rounds up to there are logged.

        Raises:
            RoundLogError: The log tells something else about a round, or of later ones: the state
                of the run was restored from a backup.
        """
        told = [e for e in self._entries if e.run_id == run_id]
        common = branch.round if branch else 0
        now = [entry_of(run_id, s) for s in summaries[common:]]
        if branch and now:
            now[0] = now[0].model_copy(update={"branch": branch})
        if told != now[: len(told)]:
            number = next((i for i, e in enumerate(told) if e not in now), len(now)) + common + 1
            raise RoundLogError(
                f"{self.folder}: round {number} of {run_id} was logged, and the run's folder "
                "tells otherwise: was it restored from a backup? Bring back the newer copy, or go "
                "on under another run_id from the checkpoint of a round that both have"
            )
        for entry in now[len(told) :]:
            self._append(entry)

    def _append(self, entry: RoundEntry) -> None:
        line = entry.line()
        with (self.folder / ENTRIES).open("ab") as f:
            f.write(line + b"\n")
            f.flush()
            os.fsync(f.fileno())
        self._add(line)
        write_whole(self.folder / HEAD, self.tree_head.encode())
        self._entries.append(entry)

    def _add(self, line: bytes) -> None:
        self._leaves.append(merkle.leaf_hash(line))
        self._edge.add(self._leaves[-1])


def entry_of(run_id: str, summary: RoundSummary) -> RoundEntry:
    """Return what the log says about a finished round. The same each time it is asked."""
    return RoundEntry(
        run_id=run_id,
        round=summary.round,
        purpose=summary.purpose,
        ended_at=summary.ended_at,
        config=summary.config,
        plan=summary.plan,
        admitted=summary.attestations,
        tree_heads=summary.tree_heads,
        refused=summary.refused,
        has_quorum=summary.has_quorum,
        sum_lost=summary.sum_lost,
        model_in=summary.model_in,
        model_out=summary.model_out,
    )


def read_log(folder: Path, key: VerifierKey) -> VerifiedLog:
    """Read and verify the log in a folder. Needs nothing but the server's public key.

    Raises:
        RoundLogError: It cannot be read, or is not what was signed.
    """
    try:
        note = (folder / HEAD).read_text(encoding="utf-8")
        data = (folder / ENTRIES).read_bytes()
    except (OSError, UnicodeDecodeError) as e:
        raise RoundLogError(f"{folder}: not a round log ({e})") from e
    return verify_log(note, data, key)


def verify_log(note: str, data: bytes, key: VerifierKey) -> VerifiedLog:
    """Check a round log: signature, tree, and that its entries follow from one another.

    Lines beyond the head are not read: a crash can leave them.

    Raises:
        RoundLogError: It is not what was signed.
    """
    # (1) signed by the server
    try:
        head = open_tree_head(note, key)
    except ConsentError as e:
        raise RoundLogError(f"tree head: {e}") from e
    # (2) over exactly these entries
    lines = _lines(data)
    if len(lines) < head.size:
        raise RoundLogError(f"expected {head.size} entries, as was signed; found {len(lines)}")
    lines = lines[: head.size]
    leaves = merkle.leaf_hashes(lines)
    if merkle.root(merkle.tree_of(leaves), head.size) != head.root:
        raise RoundLogError("the entries are not those that were signed")
    # (3) each in its one byte form, each run from round 1 without a gap
    entries = tuple(_parse(at, line) for at, line in enumerate(lines))
    _check_order(entries)
    return VerifiedLog(head, entries)


def lineage(entries: Iterable[RoundEntry], run_id: str) -> list[RoundEntry]:
    """Return the rounds behind a run's model: its own, and those of the run that it left."""
    found = list(entries)
    own = [e for e in found if e.run_id == run_id]
    if not own or (branch := own[0].branch) is None:
        return own
    return [e for e in lineage(found, branch.run_id) if e.round <= branch.round] + own


def _check_order(entries: Sequence[RoundEntry]) -> None:
    rounds: Counter[str] = Counter()
    last: dict[str, RoundEntry] = {}
    known: dict[tuple[str, int], RoundEntry] = {}
    for at, entry in enumerate(entries):
        if entry.branch is not None:
            parent = known.get((entry.branch.run_id, entry.branch.round))
            if parent is None or entry.run_id in last:
                raise RoundLogError(
                    f"entry {at}: expected the first round of {entry.run_id}, after round "
                    f"{entry.branch.round} of {entry.branch.run_id}, which is in this log"
                )
            rounds[entry.run_id], last[entry.run_id] = parent.round, parent
        known[entry.run_id, entry.round] = entry
        rounds[entry.run_id] += 1
        if entry.round != rounds[entry.run_id]:
            raise RoundLogError(
                f"entry {at}: expected round {rounds[entry.run_id]} of {entry.run_id}, "
                f"got {entry.round}"
            )
        before = last.get(entry.run_id)
        # Another purpose shares other weights, so its digest is of something else.
        is_same = before is not None and before.purpose == entry.purpose
        if before is not None and is_same and before.model_out != entry.model_in:
            raise RoundLogError(f"entry {at}: does not start from what the round before made")
        if not entry.has_quorum and entry.model_in != entry.model_out:
            raise RoundLogError(f"entry {at}: the model changed without a quorum")
        last[entry.run_id] = entry


def _parse(at: int, line: bytes) -> RoundEntry:
    try:
        entry = RoundEntry.model_validate(parse_json(line))
    except (ConsentError, ValidationError) as e:
        raise RoundLogError(f"entry {at}: not an entry of this version") from e
    if entry.line() != line:
        raise RoundLogError(f"entry {at}: not in its canonical form")
    return entry


def _lines(data: bytes) -> list[bytes]:
    """Return the whole lines; what a crash cut off is none."""
    return data.split(b"\n")[:-1]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and see it on the disk."""
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    draft.replace(path)
    sync_folder(path.parent)
