"""Server and sites as witnesses of each other: the server of consent logs, sites of its round log.

None of it decides about a round: a cosignature that is missing, late or wrong leaves the head with
one witness fewer, and the round as it is. What decides is whether a log grew; admission and the
sites check that.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from consent.cosignature import WitnessKey, cosigner, witness_key
from consent.errors import ConsentError
from consent.keys import SigningKey, VerifierKey
from consent.note import TreeHead, parse_tree_head, signature_line, split_note
from core_model.protocol.messages import RoundRequest, Witnessing
from fl_server.config import EnrolledSite
from fl_server.errors import RoundLogError
from fl_server.round_log import RoundLog, write_whole

_log = logging.getLogger(__name__)
HEADS = "heads"  # in the folder of the round log: SIZE.note, with the cosignatures of sites


class SiteHeads:
    """The heads of sites' consent logs that the server cosigned last, over all of its runs."""

    def __init__(self, folder: Path, key: SigningKey, clock: Callable[[], datetime]) -> None:
        """Remember in a folder, a note for each site."""
        self._folder, self._clock = folder, clock
        self._cosigner = cosigner(key)
        folder.mkdir(parents=True, exist_ok=True)

    def last(self, site_id: str) -> TreeHead | None:
        """Return the head of a site that was cosigned last.

        Raises:
            RoundLogError: The note is damaged.
        """
        note = self._note(site_id)
        return None if note is None else parse_tree_head(split_note(note)[0])

    def cosignature(self, site_id: str, size: int) -> str:
        """Return the signature line for a site's head of ``size`` entries, if it is the last."""
        note = self._note(site_id)
        if note is None:
            return ""
        text, ((name, raw), *_) = split_note(note)
        return signature_line(name, raw) if parse_tree_head(text).size == size else ""

    def cosign(self, site_id: str, head: TreeHead) -> None:
        """Cosign a head that admission found to extend the last one; an older one is passed over.

        It is on the disk before the cosignature leaves with the next request.
        """
        last = self.last(site_id)
        if last is not None and last.size >= head.size:
            return
        line = self._cosigner.cosign(head, int(self._clock().timestamp()))
        write_whole(self._path(site_id), f"{head.text()}\n{line}".encode())

    def _note(self, site_id: str) -> str | None:
        path = self._path(site_id)
        if not path.exists():
            return None
        note = path.read_text(encoding="utf-8")
        try:
            parse_tree_head(split_note(note)[0])
        except ConsentError as e:
            raise RoundLogError(f"{path}: {e}; bring it back from a backup") from e
        return note

    def _path(self, site_id: str) -> Path:
        return self._folder / f"{site_id}.note"


class Witnesses:
    """Carries heads and cosignatures both ways in the messages of rounds."""

    def __init__(self, log: RoundLog, heads: SiteHeads, sites: Iterable[EnrolledSite]) -> None:
        self._log, self._heads = log, heads
        self._keys = {s.site_id: witness_key(VerifierKey.parse(s.key)) for s in sites}

    def ask(self, site_id: str, request: RoundRequest) -> RoundRequest:
        """Return a request together with the round log, and what was cosigned of the site's."""
        told = Witnessing(
            tree_head=self._log.tree_head,
            leaves=self._log.leaves,
            cosignature=self._heads.cosignature(site_id, request.plan.tree_size),
        )
        return dataclasses.replace(request, witnessing=told)

    def take(self, site_id: str, line: str) -> None:
        """Keep what a site cosigned, if it is the head that it was sent."""
        key = self._keys.get(site_id)
        if key is None or not line:
            return
        try:
            keep_cosignature(self._log.folder, self._log.tree_head, line, key)
        except ConsentError as e:
            _log.warning("%s: its cosignature is not kept: %s", site_id, e)

    def cosign(self, last_head: Callable[[str], TreeHead | None]) -> None:
        """Cosign each consent log as it was seen last, unless that was done before."""
        for site_id in sorted(self._keys):
            if (head := last_head(site_id)) is not None:
                self._heads.cosign(site_id, head)


def keep_cosignature(folder: Path, tree_head: str, line: str, key: WitnessKey) -> None:
    """Add a cosignature to the note of a head beside the log; a later one takes its place.

    Raises:
        MalformedError: It is not one signature line.
        BadSignatureError: It is not by this witness, or of another head.
    """
    text, signatures = split_note(tree_head + line)
    key.check(text, signatures[-1][1][4:])
    path = folder / HEADS / f"{parse_tree_head(text).size:08d}.note"
    note = path.read_text(encoding="utf-8") if path.exists() else tree_head
    if split_note(note)[0] != text:  # of a log that was begun anew in this folder
        note = tree_head
    kept = [s for s in split_note(note)[1] if s[0] != key.name]
    lines = [signature_line(name, raw) for name, raw in (*kept, signatures[-1])]
    path.parent.mkdir(exist_ok=True)
    write_whole(path, f"{text}\n{''.join(lines)}".encode())
