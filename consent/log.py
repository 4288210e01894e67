"""The append-only consent log of one site: signed commitments in a Merkle tree.

Entry, tree nodes and signed tree head are written in one transaction, so a crash leaves a log that
ends earlier, never one whose head promises what is not there, and no two heads of one size. The
size and root of the last head are also kept outside the database, so that no restored backup is
signed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent import merkle
from consent.cosignature import WitnessKey, cosignature_time
from consent.entry import MAX_ENTRY_BYTES, Opening, Sealed, Sealer, make_entry, parse_entry
from consent.errors import LogDamagedError, LogRolledBackError
from consent.events import ConsentEvent
from consent.high_water import HighWater, Mark
from consent.keys import SigningKey, VerifierKey
from consent.model import Role
from consent.note import (
    TreeHead,
    parse_tree_head,
    sign_tree_head,
    signature_line,
    split_note,
)
from consent.site_events import ClockAnomaly, KeyAdded
from consent.store import Store, Transaction, blocks
from consent.store_sqlite import SqliteStore

Clock = Callable[[], datetime]
Location = Path | str  # a file of SQLite, or the URL of a PostgreSQL database


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


class ConsentLog:
    """Consent events in order. Reading needs no key; appending needs the log's own, and a vault."""

    def __init__(
        self,
        location: Location,
        log_key: SigningKey | None = None,
        vault: Sealer | None = None,
        *,
        outgoing: SigningKey | None = None,
        high_water: Path | None = None,
    ) -> None:
        """Open a log.

        Args:
            location: File, or URL such as postgresql://omote@host/consent.
            log_key: Signs tree heads.
            vault: Seals and opens what entries commit to; without it all events read as erased.
            outgoing: During a rotation, the log's old key, which signs every head as well.
            high_water: Where the last head's size and root are kept; for a file, beside it.
        """
        self.location = location
        self.store = open_store(location)
        self._log_key = log_key
        self._vault = vault
        self._outgoing = outgoing
        if high_water is None and not isinstance(location, Path):
            raise ValueError("a log in a database needs a path for its high-water mark")
        self.high_water = HighWater(high_water or Path(location).with_name("high-water"))

    @classmethod
    def create(
        cls,
        location: Location,
        log_key: SigningKey,
        vault: Sealer,
        keys: Sequence[tuple[Role, VerifierKey]],
        clock: Clock,
        *,
        high_water: Path | None = None,
    ) -> ConsentLog:
        """Make a log whose first entries add its own key and those that may sign entries.

        Raises:
            FileExistsError: There is a log already.
        """
        log = cls(location, log_key, vault, high_water=high_water)
        log.store.create()
        log.high_water.create(Mark(0, merkle.EMPTY_ROOT))
        first = [(Role.LOG, log_key.verifier), *keys]
        log.append([KeyAdded(vkey=key.vkey, role=role) for role, key in first], log_key, clock)
        return log

    def append(
        self,
        events: Sequence[ConsentEvent],
        signer: SigningKey,
        clock: Clock,
        *,
        forget: Sequence[int] = (),
    ) -> range:
        """Append events in one durable step; return their indices.

        If the clock stands before the last entry, the log adds an entry that says so first.

        Args:
            events: What happened.
            signer: Signs the entries.
            clock: Tells the time.
            forget: Indices whose openings are deleted in the same step.

        Raises:
            PermissionError: The log was opened without its key or vault.
            LogRolledBackError: The log is not the one that was signed last; nothing was changed.
        """
        if self._log_key is None or self._vault is None:
            raise PermissionError("this log was opened for reading; appending needs key and vault")
        with self.store.transaction(write=True) as tx:
            edge = merkle.Frontier.of(tx.node, tx.size())
            self._check_not_restored(tx, edge)
            first, time_s = edge.size, int(clock().timestamp())
            if not events:
                return range(first, first)
            behind = _last_time(tx, first) - time_s
            signed = [(event, signer) for event in events]
            if behind > 0:
                signed.insert(0, (ClockAnomaly(seconds=behind), self._log_key))
                time_s += behind
            rows, nodes = [], []
            for seq, (event, key) in enumerate(signed, start=first):
                opening = Opening.of(event)
                body = make_entry(opening, seq, time_s, key)
                assert len(body) <= MAX_ENTRY_BYTES
                rows.append((seq, body, self._vault.seal(seq, opening)))
                nodes += edge.add(merkle.leaf_hash(body))
            head = TreeHead(self._log_key.name, edge.size, edge.root())
            keys = [self._log_key, self._outgoing] if self._outgoing else [self._log_key]
            tx.add_entries(rows)
            tx.add_nodes(nodes)
            tx.add_tree_head(edge.size, sign_tree_head(head, *keys))
            tx.delete_openings(forget)
        self.high_water.raise_to(Mark(head.size, head.root))
        return range(head.size - len(events), head.size)

    def snapshot(self) -> LogSnapshot:
        """Return the log as it stands now, from one read.

        Raises:
            LogDamagedError: The head is not of the last entry.
        """
        with self.store.transaction() as tx:
            return self._snapshot_of(tx, tx.size())

    def cosigned_snapshot(self) -> LogSnapshot | None:
        """Return the log as it was when a witness last cosigned it; None if none ever did."""
        with self.store.transaction() as tx:
            size = tx.last_cosigned()
            return self._snapshot_of(tx, size) if size else None

    def add_cosignatures(self, note: str, witnesses: Iterable[WitnessKey]) -> int:
        """Keep the cosignatures of known witnesses that a tree head of this log carries.

        Returns:
            How many it carries.

        Raises:
            LogDamagedError: It is not a tree head that this log signed.
            BadSignatureError: A cosignature by a known witness is wrong.
        """
        text, signatures = split_note(note)
        head = parse_tree_head(text)
        known = {(key.name, key.key_id): key for key in witnesses}
        with self.store.transaction(write=True) as tx:
            mine = tx.tree_head(head.size)
            if mine is None or split_note(mine)[0] != text:
                raise LogDamagedError(f"this log signed no such tree head of {head.size} entries")
            num = 0
            for name, raw in signatures:
                key = known.get((name, raw[:4]))
                if key is not None:
                    key.check(text, raw[4:])
                    tx.add_cosignature(head.size, key.vkey, signature_line(name, raw))
                    num += 1
        return num

    def _snapshot_of(self, tx: Transaction, size: int) -> LogSnapshot:
        note = tx.tree_head(size)
        if note is None:
            raise LogDamagedError(f"the log has {size} entries but no tree head of that size")
        cosigned = [cosignature_time(line) for line in tx.cosignatures(tx.last_cosigned())]
        last = datetime.fromtimestamp(max([_last_time(tx, size), *cosigned]), UTC)
        note += "".join(tx.cosignatures(size))
        return LogSnapshot(size, last, note, self.store, self._vault)

    def openings_of(self, owner: str) -> list[int]:
        """Return the indices of the openings that are kept of one person."""
        with self.store.transaction() as tx:
            return tx.openings_of(owner)

    def _check_not_restored(self, tx: Transaction, edge: merkle.Frontier) -> None:
        mark = self.high_water.read()
        if mark.size > edge.size:
            raise LogRolledBackError(
                f"the log has {edge.size} entries, but one of {mark.size} was signed before: is it "
                "a restored backup? Nothing was signed. Bring back the newer copy; without it, "
                "begin a new log and tell the witnesses"
            )
        same_size = mark.size == edge.size
        root = edge.root() if same_size else merkle.root(tx.node, mark.size)
        if root != mark.root:
            raise LogRolledBackError(
                f"the first {mark.size} entries are not those that were signed before: is it a "
                "restored backup that grew? Nothing was signed"
            )


def open_store(location: Location) -> Store:
    """Return the store of a log: SQLite for a path, PostgreSQL for a URL."""
    if isinstance(location, Path):
        return SqliteStore(location)
    from consent.store_postgres import PostgresStore  # an extra: omote[postgres]

    return PostgresStore(location)


def _last_time(tx: Transaction, size: int) -> int:
    return int(json.loads(tx.entry(size - 1))["t"]) if size else 0
