"""A consent log at one moment: what it says, and the proofs of it. Reading only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from consent import merkle
from consent.entry import Opening, Sealed, Sealer, parse_entry
from consent.errors import LogDamagedError
from consent.events import ConsentEvent
from consent.store import Store, blocks


@dataclass(frozen=True)
class LogSnapshot:
    """The log at one moment. Entries are never changed, so what is read later is of that moment."""

    size: int
    last_time: datetime  # of the last entry or, if that is later, the last cosignature
    tree_head: str  # signed note, with the cosignatures that it has
    _store: Store
    _vault: Sealer | None

    def events(self, start: int = 0) -> Iterator[tuple[int, int, str, ConsentEvent | None]]:
        """Yield index, unix time, signer's key id and event (None: erased) from one transaction.

        A log may be larger than memory: at most a block of it is held. Read it to the end soon;
        while a reader is inside, an append may have to wait.

        Raises:
            LogDamagedError: An opening is not what the log committed to.
        """
        with self._store.transaction() as tx:
            for low, high in blocks(start, self.size):
                sealed = {seq: Sealed(owner, body) for seq, owner, body in tx.openings(low, high)}
                for seq, body in tx.entries(low, high):
                    entry = json.loads(body)  # verify_log reads it strictly
                    event = self._open(seq, sealed.get(seq), entry["commit"])
                    yield seq, entry["t"], entry["key"], event

    def entry(self, index: int) -> bytes:
        """Return the bytes of entry ``index``."""
        with self._store.transaction() as tx:
            return tx.entry(index)

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Return the bytes of some entries. For pieces of a log: all are in memory at once."""
        with self._store.transaction() as tx:
            return [body for _, body in tx.entries(start, min(stop, self.size))]

    def opening(self, index: int) -> Opening | None:
        """Return what entry ``index`` commits to; None if it was erased or there is no vault.

        Raises:
            LogDamagedError: It is not what the entry committed to.
        """
        with self._store.transaction() as tx:
            sealed = next((Sealed(o, b) for _, o, b in tx.openings(index, index + 1)), None)
            return self._unseal(index, sealed, parse_entry(tx.entry(index)).commit)

    def nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of some full subtrees of ``2**level`` entries."""
        if level == 0:
            return [merkle.leaf_hash(body) for body in self.entries(start, stop)]
        with self._store.transaction() as tx:
            return [value for _, value in tx.nodes(level, start, min(stop, self.size >> level))]

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """Prove that this snapshot extends the log of ``old_size`` entries; empty from 0.

        Raises:
            ValueError: The log is shorter than ``old_size``: it was cut or restored.
        """
        if old_size == 0:
            return []
        with self._store.transaction() as tx:
            return merkle.consistency_proof(tx.node, old_size, self.size)

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Prove that entry ``index`` is in this snapshot."""
        with self._store.transaction() as tx:
            return merkle.inclusion_proof(tx.node, index, self.size)

    def _open(self, seq: int, sealed: Sealed | None, commit: str) -> ConsentEvent | None:
        opening = self._unseal(seq, sealed, commit)
        return None if opening is None else opening.event

    def _unseal(self, seq: int, sealed: Sealed | None, commit: str) -> Opening | None:
        if sealed is None or self._vault is None:
            return None
        opening = self._vault.unseal(seq, sealed)
        if opening is not None and opening.commitment() != commit:
            raise LogDamagedError(f"entry {seq}: its opening is not what it committed to")
        return opening
