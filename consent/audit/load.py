"""Verify a site's log and gather the facts of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consent.audit.facts import Facts
from consent.audit.report import Head, Report
from consent.audit.server import read_server_record
from consent.audit.sources import Sources, check_site, find_manifests
from consent.errors import LogDamagedError, LogRolledBackError, VaultError
from consent.keys import VerifierKey
from consent.log import Clock
from consent.note import split_note
from consent.state import State
from consent.trust import TrustPolicy


@dataclass(frozen=True)
class Request:
    """What to audit, and what to hold it against."""

    folder: Path  # the site's consent
    state: Path  # the site's own state, with the manifests that were kept
    log_key: VerifierKey | None = None  # from outside; None: believe the log's first entry
    policy: TrustPolicy | None = None  # whom else to believe
    servers: Sequence[Path] = ()  # run.json of servers
    before: Path | None = None  # report of an earlier audit


def load(request: Request, clock: Clock) -> Facts:
    """Verify the log, replay it, and recompute all signed rounds.

    Raises:
        LogDamagedError: The log does not agree with itself; the message names the entry.
        LogRolledBackError: It is not an extension of a tree head that was seen before.
        FileNotFoundError: There is no log.
        MalformedError: A file that was named is not of its kind.
    """
    sources = Sources.open(request.folder)
    key = request.log_key or sources.log_key()
    root = sources.verify(key)
    head = sources.head(key)
    state = sources.state()
    checks = check_site(sources, state, find_manifests(request.state))
    first = next(iter(sources.history()), None)
    return Facts(
        site=state.site.event.site if state.site else head.origin,
        at=max(clock(), state.last_time),
        state=state,
        log=Head(
            origin=head.origin,
            size=head.size,
            root=root.hex(),
            witnesses=witnesses(sources, request.policy),
        ),
        first_time=first[1] if first else None,
        checks=checks,
        records=tuple(read_server_record(path) for path in request.servers),
        before=Report.from_json(request.before.read_bytes()) if request.before else None,
    )


def load_whatever(request: Request, clock: Clock) -> Facts:
    """Return the facts, or, of a log that does not hold, no more than that it does not."""
    try:
        return load(request, clock)
    except (LogDamagedError, LogRolledBackError, VaultError) as e:
        return Facts(
            site=request.folder.resolve().parent.name,
            at=clock(),
            state=State(),
            log=Head(origin="unknown", size=0, root="", witnesses=()),
            first_time=None,
            checks=(),
            damage=str(e),
        )


def witnesses(sources: Sources, policy: TrustPolicy | None) -> tuple[str, ...]:
    """Return who cosigned the newest cosigned tree head.

    With a policy its quorum is checked; without one, names are shown that nobody checked.

    Raises:
        BadSignatureError: Too few of the policy's witnesses cosigned.
    """
    note = sources.cosigned_head
    if policy is not None:
        trusted = policy.check(note or sources.tree_head)
        at, size = trusted.cosigned_at, trusted.head.size
        names = [n for n, w in policy.witnesses.items() if f"— {w.key.name} " in (note or "")]
        return tuple(f"{n}, checked, {size} entries, {at:%Y-%m-%d %H:%M} UTC" for n in names if at)
    if note is None:
        return ()
    own, entries, *_ = note.split("\n")
    return tuple(
        f"{name}, not checked (no policy given), {entries} entries"
        for name, _ in split_note(note)[1]
        if name != own
    )
