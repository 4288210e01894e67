"""How a server stands, from its folder and its health service; and how to stop it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fl_server.config import load_draft
from fl_server.errors import StartError
from fl_server.folder import ServerFolder
from fl_server.round_state import load_state
from fl_server.run_lock import holder, wait_until_free

STOP_S = 90.0  # programs end one after the other
HEALTH_S = 2.0


def standing(folder: ServerFolder, now: datetime) -> Iterator[str]:
    """Yield lines for the operator.

    Raises:
        SettingsError: federation.toml is not right.
        ServerError: The record of rounds is damaged.
    """
    config = load_draft(folder.federation)
    pid = holder(folder.lock)
    health = is_well(config.link.health_port) if pid else ""
    yield f"server: process {pid}, {health}" if pid else "server: not running"
    state = load_state(config.output, config.run_id)
    total = sum(stage.rounds for stage in config.stages)
    yield f"run {config.run_id}: {state.round} of {total} rounds are finished"
    if state.branch:
        yield f"branched off {state.branch.run_id} after round {state.branch.round}"
    if state.summaries:
        last = state.summaries[-1]
        ago = now - datetime.fromtimestamp(last.ended_at, UTC)
        yield f"last round: {last.round} ({last.purpose}), {_ago(int(ago.total_seconds()))} ago"
    for site in config.sites:
        counted = [s.round for s in state.summaries if site.site_id in s.admitted]
        refused = [(s.round, s.refused[site.site_id]) for s in state.summaries
                   if site.site_id in s.refused]  # fmt: skip
        text = f"{len(counted)} rounds, last {counted[-1]}" if counted else "in no round yet"
        if refused:
            text += (
                f"; refused {len(refused)} times, last in {refused[-1][0]}: {refused[-1][1].name}"
            )
        yield f"  {site.site_id}: {text}{'; suspended' if site.suspended else ''}"


def is_well(port: int) -> str:
    """Ask the health service, as any tool of the operator's would."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)
        except grpc.RpcError:
            return "not answering"
    return "well" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not serving"


def stop_server(folder: ServerFolder) -> int | None:
    """Stop the server of a folder and wait; return its process, None if none ran.

    Raises:
        StartError: It did not stop.
    """
    pid = holder(folder.lock)
    if not pid:
        return None
    os.kill(pid, signal.SIGTERM)
    if wait_until_free(folder.lock, STOP_S):
        raise StartError(f"process {pid} did not stop in {STOP_S:.0f} s; see {folder.logs}")
    return pid


def _ago(seconds: int) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(0, seconds)} seconds"
