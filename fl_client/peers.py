"""The keys of other sites in ``[peers]`` of site.toml, for secure sums. Everything else stays.

A key must come from its own operator: with keys that the server handed out, the server could be
all the others.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

from core_model.protocol.enrolment import Enrolment
from fl_client.config import load_site_config
from fl_client.errors import SiteError

HEADER = "[peers]"
Lines = list[str]


def fingerprint(key: str) -> str:
    """Return what two operators read to each other: 32 hex digits of the key's SHA-256, in eights.

    128 bits: nobody finds a second key with the same.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return " ".join(digest[k : k + 8] for k in range(0, 32, 8))


def add_peer(site_toml: Path, peer: Enrolment, *, replace: bool = False) -> None:
    """Write down a site and its key.

    Raises:
        SiteError: It is this site itself, or is there with another key; names what to do.
        SettingsError: The file is not right, before or afterwards; it stays as it was.
    """
    config = load_site_config(site_toml)
    if peer.site_id == config.site_id:
        raise SiteError(f"{peer.site_id} is this site itself")
    before = config.peers.get(peer.site_id)
    if before == peer.key:
        return
    if before is not None and not replace:
        raise SiteError(
            f"{peer.site_id} is there with another key ({fingerprint(before)}); ask its operator, "
            "then add it with --replace"
        )
    line = f"{json.dumps(peer.site_id)} = {json.dumps(peer.key)}\n"  # also a string of TOML
    _rewrite(site_toml, lambda lines: [line, *_without(lines, peer.site_id)])


def remove_peer(site_toml: Path, site_id: str) -> None:
    """Take a site out: no secure sum with it any more.

    Raises:
        SiteError: It is not there.
        SettingsError: The file is not right.
    """
    if site_id not in load_site_config(site_toml).peers:
        raise SiteError(f"{site_id} is not in {HEADER}")
    _rewrite(site_toml, lambda lines: _without(lines, site_id))


def _without(lines: Lines, site_id: str) -> Lines:
    return [line for line in lines if site_id not in _keys(line)]


def _keys(line: str) -> set[str]:
    try:
        return set(tomllib.loads(line))
    except tomllib.TOMLDecodeError:
        return set()


def _rewrite(path: Path, change: Callable[[Lines], Lines]) -> None:
    """Change the lines of the table; the file is replaced whole, if it can still be read."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    heads = [k for k, line in enumerate(lines) if line.split("#")[0].strip() == HEADER]
    if not heads:
        lines += ["\n", f"{HEADER}\n"]
        heads = [len(lines) - 1]
    first = heads[0] + 1
    tables = [k for k in range(first, len(lines)) if re.match(r"\s*\[", lines[k])]
    last = tables[0] if tables else len(lines)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text("".join([*lines[:first], *change(lines[first:last]), *lines[last:]]), "utf-8")
    shutil.copymode(path, draft)
    try:
        load_site_config(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
