"""Recompute a consent log from its entries and compare. Trusts nothing but the log's public key.

One pass in blocks, each read in a transaction of its own so that nobody waits: what stands in a log
never changes. Checking a signature costs thirty times what hashing an entry costs, so a block whose
every byte was checked in an earlier pass (see ``consent.checked``) is only hashed and compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consent import merkle
from consent.checked import Checked, block_digest
from consent.entry import Entry, Sealed, Sealer, parse_entry
from consent.errors import ConsentError, LogDamagedError, LogRolledBackError
from consent.events import ConsentEvent
from consent.keys import VerifierKey
from consent.log import Location, open_store
from consent.note import TreeHead, open_tree_head
from consent.signers import LEARNED, Signers
from consent.site_events import SubjectErased
from consent.store import BLOCK, Transaction, blocks

# Opened even in a block that was checked before: who may sign, and what may be missing.
_LEARNED = [b'"type":"%b"' % kind.encode() for kind in (*LEARNED, "subject.erased")]


@dataclass(frozen=True)
class Verified:
    """What was found intact."""

    size: int
    root: bytes
    num_erased: int  # entries whose opening was deleted or cannot be read any more
    checked: Checked  # to be remembered for the next pass


def verify_log(
    location: Location,
    log_key: VerifierKey,
    vault: Sealer | None,
    *,
    since: Iterable[TreeHead] = (),
    checked: Checked | None = None,
    quick: bool = False,
) -> Verified:
    """Check every entry, node, opening and tree head of a log, in one pass and little memory.

    Args:
        location: File or URL of the log.
        log_key: Its public key: the first, or one that signed the last tree head.
        vault: Opens what entries commit to. May be None with ``quick`` alone.
        since: Tree heads seen before, elsewhere; the log must extend each of them.
        checked: What an earlier pass returned, from a place that only the auditor can write.
        quick: Leave out signatures of entries, roles, all openings, and all tree heads but the
            last. What is left shows that the bytes are those that the log signed last.

    Raises:
        LogDamagedError: Something does not fit; the message names the entry.
        LogRolledBackError: It is sound, but does not extend a head that was seen before.
    """
    if vault is None and not quick:
        raise ValueError("without a vault only a quick pass is possible: who may sign is sealed")
    store = open_store(location)
    with store.transaction() as tx:
        size = tx.size()
        _check_nothing_beyond(tx, size)
        note = tx.tree_head(size)
    run = _Pass(vault, log_key, checked, [*since], quick, size)
    for low, high in blocks(0, size):
        with store.transaction() as tx:
            run.check_block(tx, low, high)
    with store.transaction() as tx:
        run.hear_erasures_since(tx)
    found = run.result()
    if quick or run.first_key != log_key:
        _check_signed(note, log_key)
    store.check_guards()
    return found


class _Pass:
    """The state of one pass: all that is kept from block to block."""

    def __init__(
        self,
        vault: Sealer | None,
        log_key: VerifierKey,
        checked: Checked | None,
        since: list[TreeHead],
        quick: bool,
        size: int,
    ) -> None:
        self._vault, self._log_key, self._quick, self._size = vault, log_key, quick, size
        self._signers = Signers()
        self._before = checked.blocks if checked else ()
        seen = [(head.size, head.root) for head in since]
        self._since = sorted({*seen, (checked.size, checked.root)} if checked else {*seen})
        self._edge = merkle.Frontier()
        self._digests: list[bytes] = []
        self._last_time = 0
        self._missing: set[int] = set()  # no opening
        self._erased: set[int] = set()  # an erasure names them

    def check_block(self, tx: Transaction, low: int, high: int) -> None:
        """Check the entries from ``low`` to before ``high`` and all that belongs to them."""
        entries = tx.entries(low, high)
        _check_dense(entries, low, high)
        levels = merkle.levels_of(merkle.leaf_hashes(body for _, body in entries))
        heads = tx.tree_heads(low + 1, high + 1)
        openings = [] if self._quick else tx.openings(low, high)
        digest = block_digest(levels[-1][0], heads, openings)
        at = low // BLOCK
        known = at < len(self._before) and self._before[at] == digest
        wrong = _wrong_node(tx, low, levels)
        if not self._quick:
            if wrong or not known:
                self._check_entries(entries, _sealed(openings))
            else:
                self._pass_over(entries, openings)
        if wrong:
            raise LogDamagedError(wrong)
        if not known:
            self._check_heads(heads, low, levels)
        self._check_since(low, high, levels)
        self._advance(tx, levels, high - low)
        if high - low == BLOCK and not self._quick:
            self._digests.append(digest)

    def hear_erasures_since(self, tx: Transaction) -> None:
        """Read which openings were deleted rightly while this pass was running."""
        if self._missing - self._erased:
            for low, high in blocks(self._size, tx.size()):
                sealed = _sealed(tx.openings(low, high))
                for seq, body in tx.entries(low, high):
                    if _LEARNED[-1] in body:
                        self._open(seq, parse_entry(body), sealed.get(seq))

    @property
    def first_key(self) -> VerifierKey | None:
        """The key that the log began with; None in a quick pass."""
        return self._signers.first

    def result(self) -> Verified:
        """Return what was found.

        Raises:
            LogDamagedError: An opening is gone that no erasure names.
            LogRolledBackError: A head seen before is larger than the log.
        """
        if self._since:
            raise LogRolledBackError(
                f"the log has {self._size} entries, but {self._since[0][0]} were seen before"
            )
        lost = sorted(self._missing - self._erased)
        if lost:
            raise LogDamagedError(f"entry {lost[0]}: its opening is gone and no erasure names it")
        checked = Checked(self._size, self._edge.root(), tuple(self._digests))
        return Verified(self._size, self._edge.root(), len(self._missing), checked)

    def _check_entries(self, entries: list[tuple[int, bytes]], sealed: dict[int, Sealed]) -> None:
        for seq, body in entries:
            try:
                entry = parse_entry(body)
                if entry.seq != seq:
                    raise LogDamagedError(f"it says that it is entry {entry.seq}")
                if entry.t < self._last_time:
                    raise LogDamagedError("it is older than the entry before it")
                event = self._open(seq, entry, sealed.get(seq))
                self._signers.check(seq, entry, event)
            except ConsentError as e:
                raise LogDamagedError(f"entry {seq}: {e}") from e
            self._last_time = entry.t

    def _pass_over(
        self, entries: list[tuple[int, bytes]], openings: list[tuple[int, str | None, bytes]]
    ) -> None:
        """Learn what later blocks need from a block that was checked before, bit for bit."""
        if len(openings) < len(entries):
            self._missing |= {seq for seq, _ in entries} - {seq for seq, _, _ in openings}
        together = b"".join(body for _, body in entries)
        if any(mark in together for mark in _LEARNED):
            sealed = _sealed(openings)
            for seq, body in entries:
                if seq in sealed and any(mark in body for mark in _LEARNED):
                    self._learn(seq, body, sealed[seq])
        self._last_time = parse_entry(entries[-1][1]).t

    def _learn(self, seq: int, body: bytes, sealed: Sealed) -> None:
        try:
            entry = parse_entry(body)
            event = self._open(seq, entry, sealed)
            if event is not None:
                self._signers.learn(seq, entry, event)
        except ConsentError as e:
            raise LogDamagedError(f"entry {seq}: {e}") from e

    def _open(self, seq: int, entry: Entry, sealed: Sealed | None) -> ConsentEvent | None:
        """Open an entry and compare it with its commitment; None if its opening is gone."""
        assert self._vault is not None
        opening = None if sealed is None else self._vault.unseal(seq, sealed)
        if opening is None:
            self._missing.add(seq)
            return None
        if opening.commitment() != entry.commit or opening.event.type != entry.type:
            raise LogDamagedError("its opening is not what it committed to")
        if isinstance(opening.event, SubjectErased):
            self._erased.update(opening.event.entries)
        return opening.event

    def _check_heads(
        self, heads: list[tuple[int, str]], low: int, levels: list[list[bytes]]
    ) -> None:
        for size, note in heads:
            if self._quick and size < self._size:
                continue
            keys = [self._log_key] if self._quick else self._signers.log_keys(size)
            try:
                head = open_tree_head(note, *keys)
            except ConsentError as e:
                raise LogDamagedError(f"tree head of size {size}: {e}") from e
            if (head.size, head.root) != (size, self._root_at(low, levels, size)):
                raise LogDamagedError(f"tree head of size {size} is of other entries")

    def _check_since(self, low: int, high: int, levels: list[list[bytes]]) -> None:
        while self._since and self._since[0][0] <= high:
            size, root = self._since.pop(0)
            if size and root != self._root_at(low, levels, size):
                raise LogRolledBackError(f"the first {size} entries are not those seen before")

    def _root_at(self, low: int, levels: list[list[bytes]], size: int) -> bytes:
        edge = self._edge.copy()
        merkle.extend(edge, levels, size - low)
        return edge.root()

    def _advance(self, tx: Transaction, levels: list[list[bytes]], num: int) -> None:
        for level, at, value in merkle.extend(self._edge, levels, num):
            if level >= len(levels) and tx.node(level, at) != value:
                raise LogDamagedError(_names_node(level, at))


def _sealed(openings: list[tuple[int, str | None, bytes]]) -> dict[int, Sealed]:
    return {seq: Sealed(owner, body) for seq, owner, body in openings}


def _check_dense(entries: list[tuple[int, bytes]], low: int, high: int) -> None:
    if [seq for seq, _ in entries] != list(range(low, high)):
        found = {seq for seq, _ in entries}
        missing = next(seq for seq in range(low, high) if seq not in found)
        raise LogDamagedError(f"entry {missing} is missing")


def _wrong_node(tx: Transaction, low: int, levels: list[list[bytes]]) -> str | None:
    """Return which stored node of a block is wrong, if one is."""
    for level, want in enumerate(levels[1:], start=1):
        start = low >> level
        got = tx.nodes(level, start, start + len(want))
        if [value for _, value in got] != want:
            stored = dict(got)
            at = next(i for i, h in enumerate(want, start=start) if stored.get(i) != h)
            return _names_node(level, at)
    return None


def _names_node(level: int, at: int) -> str:
    first, last = at << level, (at + 1 << level) - 1
    return f"entries {first} to {last}: stored node {at} at level {level} is not of them"


def _check_signed(note: str | None, log_key: VerifierKey) -> None:
    try:
        open_tree_head(note or "", log_key)
    except ConsentError as e:
        raise LogDamagedError(f"the last tree head: {e}; is this the key of the log?") from e


def _check_nothing_beyond(tx: Transaction, size: int) -> None:
    last = tx.largest_tree_head()
    if last < size:
        raise LogDamagedError(f"entry {size - 1}: no tree head covers it")
    if last > size:
        raise LogDamagedError(f"a tree head promises {last} entries, but there are {size}")
    if tx.num_nodes() != sum(size >> level for level in range(1, 64)):
        raise LogDamagedError(f"expected the nodes of {size} entries, got {tx.num_nodes()} nodes")
    if tx.openings(size, 2**62):
        raise LogDamagedError(f"there are openings beyond the last entry, {size - 1}")
