"""A server's log of rounds, read from its files alone: docs/formats.md, "The log of rounds".

Only what an audit asks about is read of an entry; all of its bytes are in the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from consent import merkle
from consent.cosignature import WitnessKey, open_cosigned
from consent.envelope import parse_json
from consent.errors import ConsentError, LogDamagedError
from consent.keys import VerifierKey
from consent.note import TreeHead, open_tree_head


class LeftAt(BaseModel):
    """Where a run left another one."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    run_id: str
    round: int


class LoggedRound(BaseModel):
    """What the log says about one round."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    run_id: str
    round: int
    purpose: str
    config: str
    admitted: dict[str, str]  # digests of attestations
    tree_heads: dict[str, str]  # size and root of each admitted site's consent log
    refused: dict[str, int]
    has_quorum: bool
    model_in: str
    model_out: str
    branch: LeftAt | None = None

    @property
    def name(self) -> str:
        """The run and the round."""
        return f"{self.run_id}/{self.round}"


@dataclass(frozen=True)
class RunLog:
    """A log whose tree and signature hold."""

    head: TreeHead
    rounds: tuple[LoggedRound, ...]
    witnesses: dict[str, int]  # the most entries that each site cosigned
    faults: tuple[str, ...]  # of heads that were kept with cosignatures


def read_run_log(folder: Path, key: VerifierKey, witnesses: Sequence[WitnessKey]) -> RunLog:
    """Read a log and check its signature, its tree, and every head that sites cosigned.

    Raises:
        LogDamagedError: It is not what was signed.
        OSError: It cannot be read.
    """
    # (1) signed by the server, over exactly these entries
    head = open_tree_head((folder / "tree-head").read_text(encoding="utf-8"), key)
    lines = (folder / "entries.jsonl").read_bytes().split(b"\n")[:-1][: head.size]
    leaves = merkle.leaf_hashes(lines)
    if len(lines) < head.size or _root(leaves, head.size) != head.root:
        raise LogDamagedError(f"{folder}: the entries are not the {head.size} that were signed")
    try:
        rounds = tuple(LoggedRound.model_validate(parse_json(line)) for line in lines)
    except (ConsentError, ValidationError) as e:
        raise LogDamagedError(f"{folder}: an entry cannot be read") from e
    # (2) every earlier head that sites saw is one of this very log
    seen: dict[str, int] = {}
    faults: list[str] = []
    for path in sorted((folder / "heads").glob("*.note")):
        try:
            earlier, times = open_cosigned(path.read_text(encoding="utf-8"), [key], witnesses)
        except (ConsentError, UnicodeDecodeError) as e:
            faults.append(f"{path.name}: {e}")
            continue
        if earlier.size > head.size or _root(leaves, earlier.size) != earlier.root:
            faults.append(f"{path.name}: sites cosigned {earlier.size} other entries than these")
            continue
        seen |= {w.name.split("/")[0]: earlier.size for w in times}
    return RunLog(head, rounds, seen, tuple(faults))


def _root(leaves: Sequence[bytes], size: int) -> bytes:
    if size == 0:
        return merkle.EMPTY_ROOT
    return merkle.root(merkle.tree_of(leaves[:size]), size)
