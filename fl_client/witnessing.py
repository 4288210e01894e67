"""The site as witness of the server's log of rounds; and what the server cosigned of its own log.

As C2SP tlog-witness, but inside the messages of a round: the head is cosigned only if the log grew
from the head that this site cosigned last, and is on the disk before the cosignature leaves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from consent import merkle
from consent.cosignature import cosigner, witness_key
from consent.errors import ConsentError
from consent.note import TreeHead, open_tree_head
from consent.private_file import sync_folder
from core_model.protocol.messages import RefusalCode, RoundRequest, Witnessing
from fl_client.errors import RoundRefusedError
from fl_client.site import Site

_log = logging.getLogger(__name__)
FOLDER = "server-log"  # in the state folder, for each key of a server a note


def witness_server(told: Witnessing | None, site: Site) -> str:
    """Check the server's log and cosign its head.

    Args:
        told: The log, as the server shows it.
        site: That joined the server. If it joined none there is nothing to check.

    Returns:
        The signature line; empty if the server's key is not known.

    Raises:
        RoundRefusedError: SERVER_LOG_UNSOUND. What was shown is kept: with the note that this site
            cosigned last it convicts the server, whose key signed both.
    """
    key = site.server_key
    if key is None:
        return ""
    if told is None:
        _refuse("the server shows no log of rounds")
    folder = site.config.state / FOLDER
    path = folder / f"{key.key_id.hex()}.note"
    # (1) signed by the server
    try:
        head = open_tree_head(told.tree_head, key)
        last = open_tree_head(path.read_text(encoding="utf-8"), key) if path.exists() else None
    except ConsentError as e:
        _refuse(f"a head of the server's log does not hold: {e}")
    # (2) over entries that begin with those of the head cosigned last
    try:
        check_grown(told.leaves, head, last)
    except RoundRefusedError:
        _write(folder / f"{key.key_id.hex()}.refused.note", told.tree_head)
        hashes = "".join(f"{leaf.hex()}\n" for leaf in told.leaves)
        _write(folder / f"{key.key_id.hex()}.refused.leaves", hashes)
        raise
    # (3) remembered before anybody hears of it
    line = cosigner(site.key).cosign(head, int(site.clock().timestamp()))
    _write(path, told.tree_head + line)
    return line


def check_grown(leaves: Sequence[bytes], head: TreeHead, last: TreeHead | None) -> None:
    """Check that a log of these entries has this head, and had the last one when it was shorter.

    Raises:
        RoundRefusedError: SERVER_LOG_UNSOUND.
    """
    if len(leaves) != head.size:
        _refuse(f"{len(leaves)} entries, but the server signed a head of {head.size}")
    if last is not None and head.size < last.size:
        _refuse(f"{head.size} entries, but this site cosigned {last.size}: the log was cut")
    edge = merkle.Frontier()
    for leaf in leaves:
        _check_last(edge, last)
        edge.add(leaf)
    _check_last(edge, last)
    if edge.root() != head.root:
        _refuse("the entries are not those of the head that the server signed")


def keep_cosignature(request: RoundRequest, site: Site) -> None:
    """Keep what the server cosigned of this site's log beside the head; for an auditor to see.

    If it does not hold, the site's own log says why. That costs no round: nobody but the server
    loses by it.
    """
    told = request.witnessing
    if site.server_key is None or told is None or not told.cosignature:
        return
    try:
        site.registry.journal.keep_cosignature(
            request.plan.tree_size, told.cosignature, witness_key(site.server_key)
        )
    except ConsentError as e:
        _log.warning("round %d: the server's cosignature is not kept: %s", request.plan.round, e)


def _check_last(edge: merkle.Frontier, last: TreeHead | None) -> None:
    if last is not None and edge.size == last.size and edge.root() != last.root:
        _refuse(f"not the {last.size} entries that this site cosigned: the log was rewritten")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def _refuse(detail: str) -> NoReturn:
    raise RoundRefusedError(RefusalCode.SERVER_LOG_UNSOUND, detail)
