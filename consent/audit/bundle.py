"""An evidence bundle: what an outsider needs to check a site's log, and nothing about any person.

A tar file with one form for one log: all entries as they are hashed, what those open to that are
about no person, the signed tree head, and the newest one that witnesses cosigned. It does tell how
many entries of each type there are, and on how many consents a round relied: hand it out, do not
publish it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from consent.audit.archive import ArchiveWriter
from consent.entry import Opening
from consent.envelope import canonical_json
from consent.events import event_bytes
from consent.model import Role
from consent.site_events import KeyAdded

SCHEMA = "https://omote.dev/evidence-bundle/v1"
ABOUT, COSIGNED, TREE_HEAD = "about.json", "cosigned-head", "tree-head"
WIDTH = 256  # entries in one member
OPENED = frozenset(
    {
        "site.described",
        "notice.published",
        "policy.set",
        "policy.decided",
        "review.approved",
        "evidence.added",
        "round.started",
        "round.signed",
        "round.discarded",
        "model.published",
        "key.added",
        "key.revoked",
        "entry.countersigned",
        "clock.anomaly",
    }
)
"""Types that are about no person. All others stay closed: events of people, and free remarks."""


class Evidence(Protocol):
    """A log to make a bundle of, as it stood at one moment."""

    @property
    def size(self) -> int:
        """The number of entries."""
        ...

    @property
    def tree_head(self) -> str:
        """The signed note, with cosignatures."""
        ...

    @property
    def cosigned_head(self) -> str | None:
        """The newest note that a witness cosigned, if one ever did."""
        ...

    def block(self, start: int, stop: int) -> Sequence[tuple[bytes, Opening | None]]:
        """Return entries, and what they open to."""
        ...


@dataclass(frozen=True)
class Shown:
    """How an opening stands in a bundle."""

    seq: int
    salt: bytes
    event: bytes

    def line(self) -> bytes:
        """Return it as one line of JSON."""
        return canonical_json(
            {"seq": self.seq, "salt": self.salt.hex(), "event": self.event.decode()}
        )


def write_bundle(evidence: Evidence, origin: str, file: BinaryIO) -> None:
    """Write a bundle. Equal logs give equal bytes."""
    archive = ArchiveWriter(file)
    about = {"schema": SCHEMA, "origin": origin, "size": evidence.size}
    archive.add(ABOUT, canonical_json(about) + b"\n")
    if evidence.cosigned_head is not None:
        archive.add(COSIGNED, evidence.cosigned_head.encode())
    for start in range(0, evidence.size, WIDTH):
        block = evidence.block(start, min(start + WIDTH, evidence.size))
        entries = b"".join(len(body).to_bytes(2, "big") + body for body, _ in block)
        archive.add(member(start, "entries"), entries)
        shown = [line + b"\n" for line in _shown(start, block)]
        archive.add(member(start, "openings"), b"".join(shown))
    archive.add(TREE_HEAD, evidence.tree_head.encode())
    archive.close()


def member(start: int, kind: str) -> str:
    """Return the name of the member that begins with entry ``start``."""
    return f"log/{start // WIDTH:08d}.{kind}"


def is_shown(opening: Opening) -> bool:
    """Is an opening about no person? A subject's own key names its subject."""
    event = opening.event
    if isinstance(event, KeyAdded) and event.role is Role.SUBJECT:
        return False
    return event.type in OPENED


def _shown(start: int, block: Sequence[tuple[bytes, Opening | None]]) -> Iterator[bytes]:
    for seq, (_, opening) in enumerate(block, start=start):
        if opening is not None and is_shown(opening):
            yield Shown(seq, opening.salt, event_bytes(opening.event)).line()
