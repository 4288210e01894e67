"""Check an evidence bundle with nothing but the log's public key. Names what does not hold.

Two passes over the file: the first learns which tree heads the attestations name, the second
recomputes the tree and checks everything else. Memory does not grow with the log.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consent import merkle
from consent.audit.archive import read_archive
from consent.audit.bundle import ABOUT, COSIGNED, OPENED, SCHEMA, TREE_HEAD, WIDTH, Shown, member
from consent.audit.rounds import RoundCheck, check_heads, check_statement, open_round
from consent.entry import Entry, Opening, parse_entry
from consent.envelope import canonical_json, parse_json
from consent.errors import BundleError, ConsentError, RoleError
from consent.events import ConsentEvent, parse_event
from consent.keys import VerifierKey
from consent.model import Role
from consent.note import TreeHead, open_tree_head, parse_tree_head, split_note
from consent.state import State

MAY_BE_CLOSED = frozenset({"key.added"})  # a subject's own key names its subject


@dataclass
class BundleResult:
    """What a bundle proves."""

    head: TreeHead
    note: str  # the newest cosigned tree head, or the last one, for a trust policy to look at
    last_time: datetime
    rounds: list[RoundCheck] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # what a person should look at
    num_closed_signers: int = 0  # entries by keys of people, which a bundle does not show


def verify_bundle(path: Path, log_key: VerifierKey) -> BundleResult:
    """Check every byte of a bundle.

    Raises:
        BundleError: Something does not hold; the message names the member and the entry.
        FileNotFoundError: There is no such file.
    """
    sizes = _named_sizes(path)
    run = _Pass(log_key, sizes)
    for number, (name, data) in enumerate(_members(path)):
        try:
            run.take(number, name, data)
        except BundleError:
            raise
        except ConsentError as e:
            raise BundleError(f"{name}: {e}") from e
    return run.result()


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        yield from read_archive(file)


def _named_sizes(path: Path) -> set[int]:
    """Return the sizes of all tree heads that attestations name; nothing is believed yet."""
    sizes = set()
    for name, data in _members(path):
        if name == COSIGNED:
            sizes.add(parse_tree_head(split_note(_text(name, data))[0]).size)
        if not name.endswith(".openings"):
            continue
        for line in data.splitlines():
            if b"round.signed" in line:
                sizes |= _sizes_in(name, line)
    return sizes


def _sizes_in(name: str, line: bytes) -> set[int]:
    try:
        event: Any = parse_json(parse_json(line)["event"].encode())
        payload = base64.b64decode(parse_json(event["attestation"].encode())["payload"])
        consent = parse_json(payload)["predicate"]["consent"]
        return {
            parse_tree_head(split_note(consent[k])[0]).size for k in ("start_head", "tree_head")
        }
    except (ConsentError, AttributeError, KeyError, TypeError, ValueError) as e:
        raise BundleError(f"{name}: a round.signed opening holds no attestation") from e


class _Pass:
    """The second pass."""

    def __init__(self, log_key: VerifierKey, sizes: set[int]) -> None:
        self._log_key, self._sizes = log_key, sizes
        self._edge = merkle.Frontier()
        self._roots: dict[int, bytes] = {}
        self._state = State()
        self._entries: list[Entry] = []  # of the member before
        self._claimed: dict[str, Any] = {}
        self._digests: dict[str, set[str]] = {}  # of attestations, for each run
        self._has_closed_keys = False
        self._result: BundleResult | None = None
        self._cosigned: str | None = None
        self._rounds: list[RoundCheck] = []
        self._flags: list[str] = []
        self._num_closed = 0

    def take(self, number: int, name: str, data: bytes) -> None:
        """Take the next member."""
        if self._result is not None:
            raise BundleError(f"{name} stands after the tree head")
        if number == 0:
            self._about(name, data)
        elif name == COSIGNED and number == 1:
            self._cosigned = _text(name, data)
        elif name == TREE_HEAD:
            self._head(_text(name, data))
        elif name == member(self._edge.size, "entries") and not self._entries:
            self._entries = _parse_entries(name, data, self._edge.size)
        elif self._entries and name == member(self._edge.size, "openings"):
            self._block(name, data)
        else:
            raise BundleError(f"{name} does not belong here")

    def result(self) -> BundleResult:
        """Return what was found."""
        if self._result is None:
            raise BundleError("the bundle ends before its tree head")
        return self._result

    def _about(self, name: str, data: bytes) -> None:
        about = parse_json(data)
        if data != canonical_json(about) + b"\n":
            raise BundleError(f"{name} is not in its one form")
        if name != ABOUT or not isinstance(about, dict) or about.get("schema") != SCHEMA:
            raise BundleError(f"expected {ABOUT} of an evidence bundle ({SCHEMA}), got {name}")
        if about.get("origin") != self._log_key.name:
            raise BundleError(f"this bundle is of another log than {self._log_key.name}")
        self._claimed = about

    def _block(self, name: str, data: bytes) -> None:
        openings = _parse_openings(name, data)
        for entry in self._entries:
            try:
                self._entry(entry, openings.pop(entry.seq, None))
            except ConsentError as e:
                raise BundleError(f"entry {entry.seq} ({entry.type}): {e}") from e
        if openings:
            raise BundleError(f"{name}: there is no entry {min(openings)} to open here")
        self._entries = []

    def _entry(self, entry: Entry, opening: Opening | None) -> None:
        state, index = self._state, entry.seq
        if entry.t < int(state.last_time.timestamp()):
            raise BundleError("it is older than the entry before it")
        if opening is None and entry.type in OPENED - MAY_BE_CLOSED:
            raise BundleError("what it opens to is missing, though it is about no person")
        if opening is not None and opening.commitment() != entry.commit:
            raise BundleError("its opening is not what it committed to")
        event = opening.event if opening else None
        self._check_signer(entry, event)
        state.apply(index, datetime.fromtimestamp(entry.t, UTC), entry.key, event)
        self._edge.add(merkle.leaf_hash(entry.body()))
        if self._edge.size in self._sizes:
            self._roots[self._edge.size] = self._edge.root()
        if state.rounds and state.rounds[-1].index == index:
            self._round()

    def _check_signer(self, entry: Entry, event: ConsentEvent | None) -> None:
        keys = self._state.keys
        if event is None and entry.type == "key.added":
            self._has_closed_keys = True
        known = keys.keys.get(entry.key)
        if known is None and entry.seq > 0:
            if not self._has_closed_keys or not entry.type.startswith("consent."):
                raise BundleError(f"its signer {entry.key} was never added")
            self._num_closed += 1
            return
        entry.check(VerifierKey.parse(known.vkey) if known else self._log_key)
        try:
            keys.check(entry.seq, entry.key, entry.type, event)
        except RoleError as e:
            self._flags.append(f"entry {entry.seq}: {e}")

    def _round(self) -> None:
        check = open_round(self._state.rounds[-1], self._state.keys, {})
        check_heads(check, self._state.keys, lambda size: self._roots.get(size, b""))
        if check.attestation is not None:
            check_statement(check)
            seen = self._digests.setdefault(check.item.event.run_id, set())
            if check.attestation.previous not in {None, *seen}:
                check.faults.append("it follows an attestation that is not in this log")
            seen.add(check.digest)
        if check.faults:
            raise BundleError("; ".join(check.faults))
        self._rounds.append(check)

    def _head(self, note: str) -> None:
        head = open_tree_head(note, self._log_key)
        keys = self._state.keys.keys.values()
        own = [VerifierKey.parse(k.vkey) for k in keys if k.role is Role.LOG]
        if self._log_key not in own:
            raise BundleError("the log's key is not one that its own entries name")
        if self._cosigned is not None:
            older = open_tree_head(self._cosigned, *own)
            if older.root != self._roots.get(older.size):
                raise BundleError(f"{COSIGNED}: signed for other entries than those of the bundle")
        if self._entries or (head.size, head.root) != (self._edge.size, self._edge.root()):
            raise BundleError(
                f"{TREE_HEAD}: signed for {head.size} entries; the {self._edge.size} entries of "
                "the bundle are others"
            )
        if self._claimed.get("size") != head.size:
            raise BundleError(f"{ABOUT}: says {self._claimed.get('size')} entries, not {head.size}")
        self._result = BundleResult(
            head,
            self._cosigned or note,
            self._state.last_time,
            self._rounds,
            self._flags,
            self._num_closed,
        )


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise BundleError(f"{name}: not UTF-8") from e


def _parse_entries(name: str, data: bytes, first: int) -> list[Entry]:
    entries: list[Entry] = []
    at = 0
    while at < len(data):
        seq, length = first + len(entries), int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + 2 + length]
        at += 2 + length
        try:
            entry = parse_entry(body)
        except ConsentError as e:
            raise BundleError(f"{name}: entry {seq}: {e}") from e
        if entry.seq != seq:
            raise BundleError(f"{name}: entry {seq}: it says that it is entry {entry.seq}")
        entries.append(entry)
    if at != len(data) or not 0 < len(entries) <= WIDTH:
        raise BundleError(f"{name}: expected 1 to {WIDTH} whole entries")
    return entries


def _parse_openings(name: str, data: bytes) -> dict[int, Opening]:
    openings: dict[int, Opening] = {}
    for line in data.splitlines(keepends=True):
        try:
            shown = parse_json(line)
            seq, salt = shown["seq"], bytes.fromhex(shown["salt"])
            opening = Opening(salt, parse_event(shown["event"].encode()))
        except (ConsentError, KeyError, TypeError, ValueError, AttributeError) as e:
            last = max(openings, default=None)
            raise BundleError(f"{name}: the opening after that of entry {last} is damaged") from e
        if _line(seq, opening) != line or seq in openings or len(salt) != 32:
            raise BundleError(f"{name}: the opening of entry {seq} is not in its one form")
        openings[seq] = opening
    return openings


def _line(seq: int, opening: Opening) -> bytes:
    return Shown(seq, opening.salt, opening.body()).line() + b"\n"
