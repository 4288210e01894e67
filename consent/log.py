"""The append-only consent log of one site: signed commitments in a Merkle tree.

Entry, tree nodes and signed tree head are written in one transaction, so a crash leaves a log that
ends earlier, never one whose head promises what is not there, and no two heads of one size. The
size and root of the last head are also kept outside the database, so that no restored backup is
signed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from consent import merkle
from consent.appending import Ending, extend, last_time
from consent.cosignature import WitnessKey, cosignature_time
from consent.entry import Sealer
from consent.errors import LogDamagedError, LogRolledBackError, StoreError
from consent.events import ConsentEvent
from consent.high_water import HighWater, Mark
from consent.keys import SigningKey, VerifierKey
from consent.model import Role
from consent.note import parse_tree_head, signature_line, split_note
from consent.site_events import KeyAdded
from consent.snapshot import LogSnapshot
from consent.store import Store, Transaction
from consent.store_sqlite import SqliteStore

Clock = Callable[[], datetime]
Location = Path | str  # a file of SQLite, or the URL of a PostgreSQL database


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
        self._written: Ending | None = None  # where the log ended when this object wrote last
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
            end = Ending.read(tx, self._written)
            self._check_not_restored(tx, end)
            if not events:
                return range(end.size, end.size)
            keys = [self._log_key, self._outgoing] if self._outgoing else [self._log_key]
            added = extend(end, events, signer, int(clock().timestamp()), keys, self._vault)
            tx.add_entries(added.rows)
            tx.add_nodes(added.nodes)
            tx.add_tree_head(added.end.size, added.end.note)
            if forget:
                tx.delete_openings(forget)
        self._written = added.end
        self.high_water.raise_to(added.end.mark)
        return range(added.end.size - len(events), added.end.size)

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
        last = datetime.fromtimestamp(max([last_time(tx, size), *cosigned]), UTC)
        note += "".join(tx.cosignatures(size))
        return LogSnapshot(size, last, note, self.store, self._vault)

    def _check_not_restored(self, tx: Transaction, end: Ending) -> None:
        mark = self.high_water.read()
        if mark == end.mark:
            return
        if mark.size > end.size:
            raise LogRolledBackError(
                f"the log has {end.size} entries, but one of {mark.size} was signed before: is it "
                "a restored backup? Nothing was signed. Bring back the newer copy; without it, "
                "begin a new log and tell the witnesses"
            )
        if mark.size == end.size or merkle.root(tx.node, mark.size) != mark.root:
            raise LogRolledBackError(
                f"the first {mark.size} entries are not those that were signed before: is it a "
                "restored backup that grew? Nothing was signed"
            )


def check_url(url: str) -> str:
    """Return the URL of a database if it may be written down.

    Raises:
        StoreError: It is no URL of PostgreSQL, or there is a password in it. The URL is not shown.
    """
    parts = urlsplit(url)
    if parts.scheme != "postgresql":
        raise StoreError("expected a URL that begins with postgresql://")
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise StoreError(
            "expected a URL without password, as others could read it; PostgreSQL takes it from "
            "~/.pgpass (see 'The Password File' in its manual)"
        )
    return url


def open_store(location: Location) -> Store:
    """Return the store of a log: SQLite for a path, PostgreSQL for a URL."""
    if isinstance(location, Path):
        return SqliteStore(location)
    try:
        from consent.store_postgres import PostgresStore  # an extra
    except ImportError as e:
        raise StoreError("a log in PostgreSQL needs: pip install 'omote[postgres]'") from e
    return PostgresStore(location)
