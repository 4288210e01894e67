"""Open what an audit reads: the log, its openings, the manifests that were kept. Writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent import merkle
from consent.audit.rounds import RoundCheck, check_rounds
from consent.entry import Opening, Sealed, Sealer
from consent.errors import LogDamagedError
from consent.events import ConsentEvent
from consent.kept import read_kept
from consent.keys import VerifierKey
from consent.log import ConsentLog
from consent.model import Role
from consent.note import TreeHead, open_tree_head
from consent.site_folder import SiteFolder
from consent.snapshot import LogSnapshot
from consent.state import State
from consent.vault import Vault
from consent.verify import verify_log


@dataclass(frozen=True)
class Sources:
    """A site's consent folder, opened for reading. No signing key is needed."""

    log: ConsentLog
    vault: Vault
    snapshot: LogSnapshot

    @classmethod
    def open(cls, folder: Path) -> Sources:
        """Open the consent folder of a site.

        Raises:
            FileNotFoundError: There is no log.
            VaultError: The keystore is missing or of another site.
        """
        place = SiteFolder(folder)
        location = place.log
        if isinstance(location, Path) and not location.exists():
            raise FileNotFoundError(
                f"no consent log in {folder}; name the site's consent folder with --folder"
            )
        with _whole_file():
            vault = place.open_vault()
            log = place.open_log(vault=vault)
            return cls(log, vault, log.snapshot())

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.snapshot.size

    @property
    def tree_head(self) -> str:
        """The signed tree head, with what witnesses added to it."""
        return self.snapshot.tree_head

    @property
    def cosigned_head(self) -> str | None:
        """The newest tree head that a witness cosigned, if one ever did."""
        cosigned = self.log.cosigned_snapshot()
        return cosigned.tree_head if cosigned else None

    def history(self) -> Iterator[tuple[int, datetime, str, ConsentEvent | None]]:
        """Yield all entries with their events."""
        for index, time_s, key_id, event in self.snapshot.events():
            yield index, datetime.fromtimestamp(time_s, UTC), key_id, event

    def state(self) -> State:
        """Replay the log."""
        state = State()
        for entry in self.history():
            state.apply(*entry)
        return state

    def root_at(self, size: int) -> bytes:
        """Return the root of the first ``size`` entries."""
        with self.log.store.transaction() as tx:
            return merkle.root(tx.node, size)

    def block(self, start: int, stop: int) -> Sequence[tuple[bytes, Opening | None]]:
        """Return entries, and what they open to."""
        with self.log.store.transaction() as tx:
            sealed = {seq: Sealed(owner, body) for seq, owner, body in tx.openings(start, stop)}
            return [
                (body, _unseal(self.vault, seq, sealed.get(seq)))
                for seq, body in tx.entries(start, stop)
            ]

    def verify(self, log_key: VerifierKey, since: Iterable[TreeHead] = ()) -> bytes:
        """Check every byte of the log; return its root.

        Raises:
            LogDamagedError: Something does not fit; the message names the entry.
            LogRolledBackError: It does not extend a head that was seen before.
        """
        with _whole_file():
            return verify_log(self.log.location, log_key, self.vault, since=since).root

    def log_key(self) -> VerifierKey:
        """Return the key that the log's own first entry names. Compare it with one from outside."""
        with _whole_file():
            keys = self.state().keys.keys
        for key in keys.values():
            if key.role is Role.LOG:
                return VerifierKey.parse(key.vkey)
        raise LogDamagedError("the log does not begin with its own key")

    def head(self, log_key: VerifierKey) -> TreeHead:
        """Return the tree head after its signature was checked."""
        return open_tree_head(self.snapshot.tree_head, log_key)


def check_site(sources: Sources, state: State, manifests: Iterable[Path]) -> list[RoundCheck]:
    """Check all signed rounds of a site.

    Args:
        sources: The site's consent.
        state: The same, replayed.
        manifests: Files that the site kept, one for each run.

    Raises:
        MalformedError: A line of a file is not a manifest.
    """
    kept = {k.attestation: k for path in manifests for k in read_kept(path)}
    return check_rounds(state, sources.history, kept, sources.root_at)


def find_manifests(folder: Path) -> list[Path]:
    """Return the kept manifests under a site's state folder."""
    return sorted(folder.glob("*/manifests.jsonl"))


@contextmanager
def _whole_file() -> Iterator[None]:
    """Say plainly that the file itself is damaged."""
    try:
        yield
    except sqlite3.DatabaseError as e:
        raise LogDamagedError(f"the file of the log cannot be read: {e}") from e


def _unseal(vault: Sealer, seq: int, sealed: Sealed | None) -> Opening | None:
    return None if sealed is None else vault.unseal(seq, sealed)
