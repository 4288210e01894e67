"""What one append writes: entries, sealed openings, tree nodes and the signed head.

A log is extended from its ending. Who wrote last knows the ending; for anyone else it is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from consent import merkle
from consent.entry import MAX_ENTRY_BYTES, Opening, Sealed, Sealer, make_entry
from consent.events import ConsentEvent
from consent.high_water import Mark
from consent.keys import SigningKey
from consent.note import TreeHead, sign_tree_head
from consent.site_events import ClockAnomaly
from consent.store import Transaction


@dataclass(frozen=True)
class Ending:
    """Where a log ends: its last head, the time of its last entry, the right edge of its tree."""

    note: str  # the signed head; empty before the first
    last_time: int
    edge: merkle.Frontier  # never changed: ``extend`` works on a copy
    mark: Mark  # size and root

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.mark.size

    @classmethod
    def read(cls, tx: Transaction, known: Ending | None = None) -> Ending:
        """Return where the log ends. ``known`` spares reading it, if no one has written since.

        The signed head tells: there are no two of one size, and its root stands for every entry.
        """
        size, note = tx.ending()
        if known is not None and (known.size, known.note) == (size, note):
            return known
        edge = merkle.Frontier.of(tx.node, size)
        return cls(note, last_time(tx, size), edge, Mark(size, edge.root()))


@dataclass(frozen=True)
class Added:
    """What is to be written, and where the log ends with it."""

    rows: list[tuple[int, bytes, Sealed]]
    nodes: list[tuple[int, int, bytes]]
    end: Ending


def extend(
    end: Ending,
    events: Sequence[ConsentEvent],
    signer: SigningKey,
    time_s: int,
    log_keys: Sequence[SigningKey],
    vault: Sealer,
) -> Added:
    """Return what appending ``events`` writes.

    If the clock stands before the last entry, the log says so first, and time stands still.

    Args:
        end: Of the log.
        events: What happened.
        signer: Signs the entries.
        time_s: Unix time of the clock.
        log_keys: Sign the head; the first signs the log's own remark.
        vault: Seals openings.
    """
    signed = [(event, signer) for event in events]
    behind = end.last_time - time_s
    if behind > 0:
        signed.insert(0, (ClockAnomaly(seconds=behind), log_keys[0]))
        time_s += behind
    edge = end.edge.copy()
    rows: list[tuple[int, bytes, Sealed]] = []
    nodes: list[tuple[int, int, bytes]] = []
    for seq, (event, key) in enumerate(signed, start=end.size):
        opening = Opening.of(event)
        body = make_entry(opening, seq, time_s, key)
        assert len(body) <= MAX_ENTRY_BYTES
        rows.append((seq, body, vault.seal(seq, opening)))
        nodes += edge.add(merkle.leaf_hash(body))
    head = TreeHead(log_keys[0].name, edge.size, edge.root())
    note = sign_tree_head(head, *log_keys)
    return Added(rows, nodes, Ending(note, time_s, edge, Mark(head.size, head.root)))


def last_time(tx: Transaction, size: int) -> int:
    """Return the unix time of the last of ``size`` entries; 0 of none."""
    return int(json.loads(tx.entry(size - 1))["t"]) if size else 0
