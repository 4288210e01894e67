"""The Flower ServerApp: carry requests and answers; the coordinator decides.

Not ``Strategy.start``: that cannot resume, and one bad reply ends the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from consent.keys import SigningKey
from core_model.protocol.messages import RefusalCode, SiteUpdate
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import (
    decode_reply,
    decode_site_id,
    encode_request,
    encode_request_weights,
)
from core_model.protocol.secure import (
    MaskedRequest,
    MaskedUpdate,
    SecureReply,
    SecureRequest,
)
from core_model.protocol.secure_records import decode_secure_reply, encode_secure_request
from fl_server.asking import UNREACHED, Asking, Patience
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from fl_server.folder import ServerFolder
from fl_server.round_log import RoundLog
from fl_server.round_state import RoundSummary
from fl_server.rounds_log_file import log_to
from fl_server.run_lock import end_with_holder, hold
from fl_server.secure_round import Ask, run_secure_round
from fl_server.suspensions import Suspensions
from fl_server.witnessing import SiteHeads, Witnesses

QUERY_SITE = "query.site"
QUERY_TIMEOUT_S = 120.0  # a busy machine takes long to start a process
POLL_S = 0.5
LOCK_TIMEOUT_S = 120.0  # for the process of an earlier start to end
Nodes = dict[int, str]
"""Which site each node says it works for."""

MAX_TAIL_BYTES = 1000  # of a masked vector, after its weights: one word for each AU and one more
Answer = TypeVar("Answer")

OnRound = Callable[[RoundSummary], None]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run configuration names: ``federation='/path/to/file.toml'``."""
    path = Path(str(context.run_config["federation"]))
    with log_to(ServerFolder(path.parent)):
        run_federation(grid, path)


def run_federation(grid: Grid, path: Path) -> None:
    """Run all rounds that are left, and log each; no other process may be at it."""
    config, folder = load_federation(path), ServerFolder(path.parent)
    end_with_holder(folder.lock)
    with hold(config.output / "run.lock", LOCK_TIMEOUT_S):
        if not folder.log_key.exists():  # a simulation
            drive(grid, Coordinator(config, Suspensions(path)))
            return
        key = SigningKey.load(folder.log_key)
        log = RoundLog(folder.round_log, key)
        heads = SiteHeads(folder.witness, key, lambda: datetime.now(UTC))
        coordinator = Coordinator(config, Suspensions(path), heads.last)
        witnesses = Witnesses(log, heads, config.sites)

        def write_down(_: RoundSummary | None = None) -> None:
            log.catch_up(config.run_id, coordinator.summaries, coordinator.branch)
            witnesses.cosign(coordinator.last_head)

        write_down()  # what a crash kept from being written
        drive(grid, coordinator, write_down, witnesses)


def drive(
    grid: Grid,
    coordinator: Coordinator,
    on_round: OnRound = lambda _: None,
    witnesses: Witnesses | None = None,
) -> None:
    """Run all rounds that are left.

    Args:
        grid: How to reach the sites.
        coordinator: What to ask, and what to make of the answers.
        on_round: Called after each round.
        witnesses: Of the logs on both sides; none in a simulation.
    """
    nodes = wait_for_sites(grid, coordinator)
    while not coordinator.is_done:
        there = find_sites(grid, nodes)
        if coordinator.stage.secure_sum is None:
            # Who was there a moment ago may come back within the round.
            nodes = _ask_in_clear(grid, coordinator, nodes | there, witnesses)
        else:
            nodes = there
            _refuse_absent(coordinator, nodes)
            ask = _asking_secure(grid, coordinator, nodes, witnesses)
            run_secure_round(coordinator, nodes, ask)
        on_round(coordinator.finish())


def _ask_in_clear(
    grid: Grid, coordinator: Coordinator, nodes: Nodes, witnesses: Witnesses | None
) -> Nodes:
    """Ask all sites of a round for their updates; return the nodes that may be there for the next.

    The weights are packed once: they are the same for all.
    """
    config, asked = coordinator.config, set(coordinator.asked_sites())
    weights: RecordDict | None = None

    def make(node: int, ttl: float) -> Message:
        nonlocal weights
        request = coordinator.request(nodes[node])
        if witnesses is not None:
            request = witnesses.ask(nodes[node], request)
        weights = weights or encode_request_weights(request)
        return Message(encode_request(request, weights), node, MessageType.TRAIN, ttl=ttl)

    _refuse_absent(coordinator, nodes)
    patience = Patience(config.timeout_s, config.max_asks, config.join_timeout_s)
    asking = Asking(grid, make, patience, lambda n: nodes[n] not in coordinator.book.admitted)
    for node, reply in asking.replies(n for n in sorted(nodes) if nodes[n] in asked):
        take(coordinator, nodes[node], reply, witnesses)
    return {n: s for n, s in nodes.items() if n not in asking.gone}


def _refuse_absent(coordinator: Coordinator, nodes: Nodes) -> None:
    for site_id in set(coordinator.asked_sites()) - set(nodes.values()):
        coordinator.refuse(site_id, RefusalCode.NO_ANSWER)


def take(
    coordinator: Coordinator,
    site_id: str,
    reply: Message | None,
    witnesses: Witnesses | None = None,
) -> None:
    """Hand one reply to the coordinator: an update, a refusal, or silence.

    The text of an error is not looked at: it may tell about data.
    """
    answer = _read(reply, lambda c: decode_reply(c, coordinator.schema.num_bytes()))
    if isinstance(answer, SiteUpdate):
        coordinator.answer(site_id, answer)
        if witnesses is not None:
            witnesses.take(site_id, answer.cosignature)
    else:
        coordinator.refuse(site_id, answer)


def _read(
    reply: Message | None, decode: Callable[[RecordDict], Answer | RefusalCode]
) -> Answer | RefusalCode:
    if reply is None or (reply.has_error() and reply.error.code in UNREACHED):
        return RefusalCode.NO_ANSWER
    if reply.has_error():
        return RefusalCode.SITE_FAULT
    try:
        return decode(reply.content)
    except RecordError:
        return RefusalCode.WRONG_WEIGHTS


def _asking_secure(
    grid: Grid, coordinator: Coordinator, nodes: Nodes, witnesses: Witnesses | None
) -> Ask:
    """Return what carries the messages of a secure sum, and heads of logs with those that train."""
    if witnesses is None:
        return lambda requests: _ask_secure(grid, coordinator, requests)

    def ask(
        requests: Mapping[int, SecureRequest],
    ) -> Iterator[tuple[int, SecureReply | RefusalCode]]:
        told = {
            node: replace(r, request=witnesses.ask(nodes[node], r.request))
            if isinstance(r, MaskedRequest)
            else r
            for node, r in requests.items()
        }
        for node, reply in _ask_secure(grid, coordinator, told):
            yield node, reply
            if isinstance(reply, MaskedUpdate):
                witnesses.take(nodes[node], reply.cosignature)

    return ask


def _ask_secure(
    grid: Grid, coordinator: Coordinator, requests: Mapping[int, SecureRequest]
) -> Iterator[tuple[int, SecureReply | RefusalCode]]:
    """Send one of the four messages to all; only the one that trains may take long."""
    weights: RecordDict | None = None
    timeout_s = coordinator.config.timeout_s
    if not any(isinstance(r, MaskedRequest) for r in requests.values()):
        timeout_s = min(timeout_s, QUERY_TIMEOUT_S)

    def make(node: int, ttl: float) -> Message:
        nonlocal weights
        request = requests[node]
        if isinstance(request, MaskedRequest):
            weights = weights or encode_request_weights(request.request)
        return Message(encode_secure_request(request, weights), node, MessageType.TRAIN, ttl=ttl)

    # Once: a site takes part in one sum of a round, with secrets that it has in memory.
    asking = Asking(grid, make, Patience(timeout_s))
    most = coordinator.schema.num_bytes() + MAX_TAIL_BYTES
    for node, reply in asking.replies(requests):
        yield node, _read(reply, lambda c: decode_secure_reply(c, most))


def wait_for_sites(grid: Grid, coordinator: Coordinator) -> Nodes:
    """Find the sites' nodes; wait until all sites are there, or ``join_timeout_s`` is over."""
    wanted = {s.site_id for s in coordinator.config.sites}
    end = time.monotonic() + coordinator.config.join_timeout_s
    nodes: Nodes = {}
    while True:
        nodes = find_sites(grid, nodes)
        if wanted <= set(nodes.values()) or time.monotonic() >= end:
            return nodes
        time.sleep(POLL_S)


def find_sites(grid: Grid, known: Nodes) -> Nodes:
    """Return the nodes that are there now, and which site each says it works for.

    Only nodes that have not said so before are asked. What a node says of itself is not believed:
    admission checks the signature of every update. So if two nodes claim one site, both are asked
    for an update, and the one that can sign counts.
    """
    there = list(grid.get_node_ids())
    nodes = {n: known[n] for n in there if n in known}
    asking = Asking(
        grid,
        lambda node, ttl: Message(RecordDict(), node, QUERY_SITE, ttl=ttl),
        Patience(QUERY_TIMEOUT_S),
    )
    for node, reply in asking.replies(n for n in there if n not in nodes):
        if reply is not None and not reply.has_error():
            with contextlib.suppress(RecordError):
                nodes[node] = decode_site_id(reply.content)
    return nodes
