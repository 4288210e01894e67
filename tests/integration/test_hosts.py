"""A server and two sites on hosts of their own, by the commands that their operators type."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from core_model.protocol.enrolment import Invitation, read_json
from fl_client.config import load_site_config
from fl_client.node_folder import NodeFolder
from fl_server.config import load_federation
from fl_server.round_state import load_state
from tests.federation import write_sites
from tests.integration.hosts import can_make_hosts, network
from tests.integration.server_folder import has_proxy, make_server, told

WAIT_S = 300.0


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
@pytest.mark.skipif(not can_make_hosts(), reason="needs root and ip: apt install iproute2")
def test_a_round_between_three_hosts_over_one_open_port(tmp_path) -> None:
    sites = write_sites(tmp_path)
    nodes = {s: NodeFolder(load_site_config(f.config).node) for s, f in sites.items()}
    public = {s: node.make_key() for s, node in nodes.items()}
    with network(["server", *sites]) as hosts:
        here = hosts["server"]
        server = make_server(tmp_path / "server", sites, public, 1, address=here.address)
        config = load_federation(server.federation)
        fleet = int(config.link.address.rsplit(":", 1)[1])
        for site_id, site in sites.items():
            invitation = site.folder / "invitation.json"
            joined = hosts[site_id].run(*site_command("join", invitation, "--site", site.config))
            assert joined.returncode == 0, joined.stdout + joined.stderr
            assert read_json(invitation, Invitation).address == f"{here.address}:{fleet}"
        start = [sys.executable, "-m", "fl_server.cli", "start", server.root]
        with ExitStack() as stack:
            process = stack.enter_context(program(here, start, server.root / "said.txt"))
            for site_id, site in sites.items():
                run = site_command("run", site.config)
                stack.enter_context(program(hosts[site_id], run, site.folder / "said.txt"))
            wait_until_open(hosts["site-a"], here.address, fleet, server)
            assert here.listeners() == {fleet}
            inner = (config.link.superlink_port, config.link.health_port, config.link.metrics_port)
            for port in inner:
                assert not reaches(hosts["site-a"], here.address, port)
            assert process.wait(WAIT_S) == 0, told(server)
            assert [hosts[s].listeners() for s in sites] == [set(), set()]  # nothing comes in
    (summary,) = load_state(config.output, config.run_id).summaries
    assert set(summary.admitted) == set(sites)
    assert not summary.refused


def site_command(*words):
    return [sys.executable, "-m", "fl_client.cli", *words]


@contextmanager
def program(host, words, said):
    """Run a program on a host until the end of the block."""
    with said.open("wb") as out:
        process = subprocess.Popen(host.command(*words), stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def reaches(host, address, port) -> bool:
    """Can a program on this host open a connection?"""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 3)"
    return host.run(sys.executable, "-c", code).returncode == 0


def wait_until_open(host, address, port, server) -> None:
    end = time.monotonic() + WAIT_S
    while not reaches(host, address, port):
        assert time.monotonic() < end, told(server)
        time.sleep(0.5)
