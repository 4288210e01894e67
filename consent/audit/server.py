"""What the server remembers of its rounds, read from its run.json, beside what a site signed.

The file is a claim of the server's. Where both tell the same story, both would have to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from consent.audit.rounds import RoundCheck
from consent.errors import MalformedError
from consent.site_events import RoundDiscarded
from consent.standing import Logged

CONSENT_CHANGED = 204  # core_model.protocol.messages.RefusalCode


class ServerRound(BaseModel):
    """What a server says happened in a round; fields of no concern here are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    round: int
    purpose: str
    admitted: tuple[str, ...]
    attestations: dict[str, str]
    refused: dict[str, int]
    model_in: str
    model_out: str


class ServerRecord(BaseModel):
    """A server's state of one run."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    run_id: str
    summaries: tuple[ServerRound, ...]


def read_server_record(path: Path) -> ServerRecord:
    """Read a server's run.json.

    Raises:
        MalformedError: It is not one.
    """
    try:
        return ServerRecord.model_validate_json(path.read_bytes())
    except ValidationError as e:
        raise MalformedError(
            f"{path} is not a server's run.json: {e.error_count()} mistakes"
        ) from e


def compare(
    site: str,
    record: ServerRecord,
    checks: Sequence[RoundCheck],
    discarded: Sequence[Logged[RoundDiscarded]],
) -> list[str]:
    """Return where the two stories differ; nothing if they are the same."""
    differences = []
    finished = {r.round: r for r in record.summaries}
    for number, told in finished.items():
        signed = _of(checks, record.run_id, number)
        differences += _compare_round(site, told, signed)
        gave_up = any((d.event.run_id, d.event.round) == (record.run_id, number) for d in discarded)
        if gave_up and site in told.admitted:
            differences.append(
                f"round {number}: this site discarded its update; the server counts one"
            )
    for check in checks:
        event = check.item.event
        if event.run_id == record.run_id and event.round not in finished:
            differences.append(f"round {event.round}: signed here; the server has no such round")
    return differences


def _compare_round(site: str, told: ServerRound, signed: Sequence[RoundCheck]) -> list[str]:
    where = f"round {told.round}"
    if site in told.admitted:
        digest = told.attestations.get(site)
        match = [c for c in signed if c.digest == digest]
        if not match:
            return [f"{where}: the server counts an update that this site's log does not have"]
        event = match[0].item.event
        if (event.model_in, event.purpose.value) != (told.model_in, told.purpose):
            return [f"{where}: the server names another model or purpose than this site"]
        return []
    if signed and site not in told.refused:
        return [f"{where}: signed here; the server says that it never asked this site"]
    if signed and told.refused[site] == CONSENT_CHANGED:
        return [f"{where}: signed here; the server says that this site gave up the round"]
    return []


def _of(checks: Sequence[RoundCheck], run_id: str, number: int) -> list[RoundCheck]:
    return [c for c in checks if (c.item.event.run_id, c.item.event.round) == (run_id, number)]
