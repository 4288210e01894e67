"""Programs of a real server killed with no warning: started again, it ends at the same weights."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from core_model.protocol.messages import digest
from core_model.protocol.records import decode_request, encode_site_id, encode_update
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from fl_server.run_lock import holder
from simulations.loop import run_plain
from tests.federation import write_sites
from tests.integration.rogue_node import RogueNode
from tests.integration.server_folder import (
    has_proxy,
    make_server,
    node_key,
    started,
    told,
    wait_for_round,
)

ROUNDS = 4


def kill_the_server(server) -> None:
    os.kill(holder(server.lock), signal.SIGKILL)


def kill_the_superlink(server) -> None:
    os.kill(process_with(b"fl_server.superlink", server), signal.SIGKILL)


def kill_the_rounds(server) -> None:
    os.kill(holder(load_federation(server.federation).output / "run.lock"), signal.SIGKILL)


def process_with(words, server):
    """Return the process of this server that has ``words`` in its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if words in line and str(server.run).encode() in line:
            return int(process.name)
    raise AssertionError(words)


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_killed_at_each_round_it_ends_at_the_undisturbed_weights(tmp_path) -> None:
    sites = write_sites(tmp_path / "far")
    keys = {site_id: node_key() for site_id in sites}
    public = {site_id: pair[1] for site_id, pair in keys.items()}
    server = make_server(tmp_path / "server", sites, public, ROUNDS)
    config = load_federation(server.federation)

    def reply_of(site):
        def reply(message):
            if message.metadata.message_type.startswith("query"):
                return encode_site_id(site.site_id)
            return encode_update(run_round(decode_request(message.content), site))

        return reply

    with ExitStack() as stack:
        for site_id, folder in sites.items():
            reply = reply_of(open_site(folder.config))
            node = RogueNode(config.link.address, server.ca, keys[site_id][0], reply)
            stack.callback(node.stop)
        kills = (kill_the_server, kill_the_superlink, kill_the_rounds)
        for number, kill in enumerate(kills, start=1):
            with started(server) as process:
                wait_for_round(server, number, process)
                kill(server)
                assert process.wait(timeout=120) != 0, told(server)
        with started(server) as process:
            assert process.wait(timeout=600) == 0, told(server)

    near = write_sites(tmp_path / "near")
    plain = run_plain(config.model_copy(update={"output": tmp_path / "plain"}), near)
    ended = Coordinator(config)
    assert [s.round for s in ended.summaries] == list(range(1, ROUNDS + 1))
    assert [s.admitted for s in ended.summaries] == [("site-a", "site-b")] * ROUNDS
    assert digest(ended.arrays) == digest(plain.arrays)
