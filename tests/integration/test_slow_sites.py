"""A real server and three sites: one that is silent for a round, one that comes too late."""

from contextlib import ExitStack

import pytest

from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import decode_request, encode_site_id, encode_update
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import load_federation
from fl_server.round_state import load_state
from tests.integration.live_federation import write_three_sites
from tests.integration.rogue_node import RogueNode
from tests.integration.server_folder import (
    has_proxy,
    make_server,
    node_key,
    started,
    told,
    wait_for_round,
)

SILENT, LATE = "site-b", "site-c"
TIMEOUT_S, JOIN_S = 25.0, 15.0


class _GoneError(Exception):
    """The site's line is cut."""


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_a_silent_site_runs_out_of_time_and_a_late_one_joins_in_a_later_round(tmp_path) -> None:
    sites = write_three_sites(tmp_path)
    keys = {site_id: node_key() for site_id in sites}
    server = make_server(tmp_path / "server", sites, {s: k[1] for s, k in keys.items()}, rounds=3)
    hurry(server)
    config = load_federation(server.federation)
    with ExitStack() as stack:

        def connect(site_id):
            answer = answering(open_site(sites[site_id].config))
            node = RogueNode(config.link.address, server.ca, keys[site_id][0], answer)
            stack.callback(node.stop)
            return node

        process = stack.enter_context(started(server))
        silent = connect(SILENT)
        connect("site-a")
        wait_for_round(server, 1, process)
        connect(LATE)
        assert process.wait(timeout=300) == 0, told(server)
        assert {type(fault) for fault in silent.faults} == {_GoneError}

    first, second, third = load_state(config.output, config.run_id).summaries
    no_answer = RefusalCode.NO_ANSWER
    assert (first.admitted, first.refused) == (("site-a", SILENT), {LATE: no_answer})
    assert "site-a" in second.admitted
    assert second.refused[SILENT] is no_answer
    assert TIMEOUT_S <= second.seconds < 2 * TIMEOUT_S
    assert (third.admitted, third.refused) == (("site-a", SILENT, LATE), {})
    assert third.seconds < TIMEOUT_S


def hurry(server):
    text = server.federation.read_text()
    for old, new in {
        "timeout_s = 300.0": f"timeout_s = {TIMEOUT_S}",
        "join_timeout_s = 120.0": f"join_timeout_s = {JOIN_S}",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    server.federation.write_text(text)


def answering(site):
    def answer(message):
        if message.metadata.message_type.startswith("query"):
            return encode_site_id(site.site_id)
        request = decode_request(message.content)
        if (site.site_id, request.plan.round) == (SILENT, 2):
            raise _GoneError
        return encode_update(run_round(request, site))

    return answer
