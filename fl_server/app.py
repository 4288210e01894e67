"""The Flower ServerApp: carry requests and answers; the coordinator decides.

Not ``Strategy.start``: that cannot resume, and one bad reply ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from core_model.protocol.messages import RefusalCode, SiteUpdate
from core_model.protocol.records import (
    RecordError,
    decode_reply,
    decode_site_id,
    encode_request,
)
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from fl_server.round_state import RoundSummary

QUERY_SITE = "query.site"
POLL_S = 0.5
OnRound = Callable[[RoundSummary], None]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run configuration names: ``federation='/path/to/file.toml'``."""
    config = load_federation(Path(str(context.run_config["federation"])))
    coordinator = Coordinator(config)
    drive(grid, coordinator)


def drive(grid: Grid, coordinator: Coordinator, on_round: OnRound = lambda _: None) -> None:
    """Run all rounds that are left.

    Args:
        grid: How to reach the sites.
        coordinator: What to ask, and what to make of the answers.
        on_round: Called after each round.
    """
    timeout_s = coordinator.config.timeout_s
    nodes = find_sites(grid, [s.site_id for s in coordinator.config.sites], timeout_s)
    while not coordinator.is_done:
        asked = coordinator.asked_sites()
        for site_id in set(asked) - nodes.keys():
            coordinator.refuse(site_id, RefusalCode.NO_ANSWER)
        messages = {
            site_id: Message(
                encode_request(coordinator.request(site_id)), nodes[site_id], MessageType.TRAIN
            )
            for site_id in asked
            if site_id in nodes
        }
        for site_id, reply in exchange(grid, messages, timeout_s):
            take(coordinator, site_id, reply)
        on_round(coordinator.finish())


def take(coordinator: Coordinator, site_id: str, reply: Message | None) -> None:
    """Hand one reply to the coordinator: an update, a refusal, or silence."""
    if reply is None or reply.has_error():
        coordinator.refuse(site_id, RefusalCode.NO_ANSWER)
        return
    try:
        answer = decode_reply(reply.content)
    except RecordError:
        coordinator.refuse(site_id, RefusalCode.WRONG_WEIGHTS)
        return
    if isinstance(answer, SiteUpdate):
        coordinator.answer(site_id, answer)
    else:
        coordinator.refuse(site_id, answer)


def find_sites(grid: Grid, site_ids: list[str], timeout_s: float) -> dict[str, int]:
    """Return the node of each site that is there; wait until all are, or the time is over.

    What a node says of itself is not believed: admission checks the signature of every update.
    """
    found: dict[str, int] = {}
    end = time.monotonic() + timeout_s
    while True:
        nodes = [n for n in grid.get_node_ids() if n not in found.values()]
        asked = {str(n): Message(RecordDict(), n, QUERY_SITE) for n in nodes}
        for node, reply in exchange(grid, asked, max(1.0, end - time.monotonic())):
            if reply is not None and not reply.has_error():
                found.setdefault(decode_site_id(reply.content), int(node))
        if set(site_ids) <= found.keys() or time.monotonic() > end:
            return {site: node for site, node in found.items() if site in site_ids}
        time.sleep(POLL_S)


def exchange(
    grid: Grid, messages: dict[str, Message], timeout_s: float
) -> Iterable[tuple[str, Message | None]]:
    """Send messages and yield each reply as it comes; None for those that did not come in time.

    A reply belongs to the message that it answers: for a lost node Flower answers itself, under
    another node's number.
    """
    ids = list(grid.push_messages(messages.values()))
    waiting = dict(zip(ids, messages, strict=True))
    end = time.monotonic() + timeout_s
    while waiting and time.monotonic() < end:
        replies = list(grid.pull_messages(list(waiting)))
        for reply in replies:
            site_id = waiting.pop(reply.metadata.reply_to_message_id, None)
            if site_id is not None:
                yield site_id, reply
        if not replies:
            time.sleep(POLL_S)
    for site_id in waiting.values():
        yield site_id, None
