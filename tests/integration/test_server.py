"""A real server with TLS and keys on, three real sites, and every kind of site that cheats."""

import json
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from consent.cosignature import open_cosigned, witness_key
from consent.keys import VerifierKey
from consent.registry import Registry
from core_model.protocol.enrolment import Invitation, read_json
from core_model.protocol.messages import RefusalCode
from fl_client.config import load_site_config
from fl_client.node import Node
from fl_client.node_folder import NodeFolder
from fl_server.certificates import load_authority, make_authority, make_certificate
from fl_server.cli import app
from fl_server.config import load_federation, split_address
from fl_server.round_state import load_state
from simulations.sites import write_site
from tests.federation import write_faces
from tests.fl_client.serving import served
from tests.integration.cheats import CHEATS
from tests.integration.rogue_node import RogueNode, fleet_client
from tests.integration.server_folder import (
    has_proxy,
    make_server,
    node_key,
    started,
    told,
    wait_for_round,
)

HONEST = ("site-a", "site-b", "site-c")
STALE = "site-stale"
JOIN_S = 60.0  # the stale site never says who it is
ROUNDS = 5
MAX_NORM = 3.0
NOW = datetime.now(UTC)
run = CliRunner()


WANTED = {
    "site-key": ["BAD_SIGNATURE"] * 5,
    "site-stale": ["NO_ANSWER"] * 5,  # its SuperNode does not run a bundle that it did not pin
    "site-replays": [None, "WRONG_ROUND", "REPLAYED", "REPLAYED", "REPLAYED"],
    "site-leaks": ["WRONG_WEIGHTS"] * 5,
    "site-hides": [None] + ["LOG_NOT_GROWN"] * 4,
    "site-nan": ["WRONG_WEIGHTS"] * 5,
    "site-scales": ["TOO_LARGE"] * 5,
}


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_five_rounds_with_real_sites_and_every_cheat(tmp_path) -> None:
    sites, keys = write_all(tmp_path)
    nodes = {s: NodeFolder(load_site_config(sites[s].config).node) for s in (*HONEST, STALE)}
    public = {s: node.make_key() for s, node in nodes.items()}
    public |= {s: pair[1] for s, pair in keys.items()}
    server = make_server(tmp_path / "server", sites, public, ROUNDS, MAX_NORM)
    text = server.federation.read_text().replace(
        "join_timeout_s = 120.0", f"join_timeout_s = {JOIN_S}"
    )
    server.federation.write_text(text)
    config = load_federation(server.federation)
    for site_id, node in nodes.items():
        invitation = read_json(sites[site_id].folder / "invitation.json", Invitation)
        if site_id == STALE:  # of an earlier version of the server
            invitation = invitation.model_copy(update={"bundle": "0" * 64})
        node.join(invitation)
    cheats = {s: cheat(sites[s]) for s, cheat in CHEATS.items()}
    with ExitStack() as stack:
        process = stack.enter_context(started(server, "--log-format", "json"))
        for site_id in (*HONEST, STALE):
            _, socket_path = stack.enter_context(served(sites[site_id].config))
            node = Node(nodes[site_id], socket_path)
            stack.callback(node.stop)
        rogues = {
            s: RogueNode(config.link.address, server.ca, keys[s][0], cheats[s].reply)
            for s in CHEATS
        }
        for rogue in rogues.values():
            stack.callback(rogue.stop)
        wait_for_round(server, 1, process)
        strangers_get_nowhere(server, config)
        wait_for_round(server, 3, process)
        operators_tools_tell_what_happened(server, config)
        nothing_of_an_update_is_on_the_disk(server, cheats["site-replays"].sent[0])
        assert process.wait(timeout=600) == 0, told(server)
        assert {s: r.faults for s, r in rogues.items()} == {s: [] for s in CHEATS}
    check_rounds(server, config)
    each_side_cosigned_the_other(server, config, sites)
    nothing_of_an_update_is_on_the_disk(server, cheats["site-replays"].sent[0])


def write_all(root):
    aus = dict(
        zip((*HONEST, STALE, *CHEATS), [(1, 2), (2, 4), (1, 4), *[(1, 2, 4)] * 7], strict=True)
    )
    sites = {}
    for site_id, labelled in aus.items():
        folder = root / site_id
        listing = write_faces(folder / "data", site_id, labelled)
        sites[site_id] = write_site(
            folder, site_id, [listing], labelled_aus=labelled, seed=0,
            caps={"allows_training_without_privacy": True},
        )  # fmt: skip
    return sites, {s: node_key() for s in CHEATS}


def check_rounds(server, config):
    summaries = load_state(config.output, config.run_id).summaries
    assert len(summaries) == ROUNDS
    for number, summary in enumerate(summaries):
        refused = {s: codes[number] for s, codes in WANTED.items() if codes[number]}
        assert {s: c.name for s, c in summary.refused.items()} == refused
        assert set(HONEST) <= set(summary.admitted)
    events = [json.loads(line) for line in (server.root / "said.txt").read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] != "refused"] == [
        "started", *["round_finished"] * ROUNDS, "finished",
    ]  # fmt: skip
    assert sum(e["event"] == "refused" for e in events) == sum(len(s.refused) for s in summaries)
    key = read_json(server.root.parent / "site-a" / "invitation.json", Invitation).server_key
    verified = run.invoke(
        app,
        ["log", "verify", str(server.round_log), "--key", key, "--federation", str(server.root)],
    )
    attestations = sum(len(s.admitted) for s in summaries)
    assert f"Right: 5 rounds signed by pilot/round-log, {attestations} attest" in verified.output


def each_side_cosigned_the_other(server, config, sites):
    """What an auditor sees: heads of the server by all sites that answered, and the other way."""
    signs = VerifierKey.parse(
        read_json(sites["site-a"].folder / "invitation.json", Invitation).server_key
    )
    keys = {s.site_id: witness_key(VerifierKey.parse(s.key)) for s in config.sites}
    note = (server.round_log / "heads" / f"{ROUNDS - 1:08d}.note").read_text()
    head, times = open_cosigned(note, [signs], keys.values())
    assert head.size == ROUNDS - 1
    assert {keys[s] for s in HONEST} <= times.keys()
    for site in config.sites:
        if site.site_id in HONEST:
            registry = Registry.open(sites[site.site_id].folder / "consent", lambda: NOW)
            note = registry.journal.replay.log.cosigned_snapshot().tree_head
            log_key, witness = VerifierKey.parse(site.log_key), witness_key(signs)
            assert open_cosigned(note, [log_key], [witness])[1].keys() == {witness}


def strangers_get_nowhere(server, config):
    """A node whose key is not enrolled, one with another CA, and calls that operators make."""
    key, _ = node_key()
    with pytest.raises(httpx.HTTPStatusError) as refused:
        fleet_client(config.link.address, server.ca, key).ActivateNode(
            ActivateNodeRequest(
                public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=30
            )
        )
    assert refused.value.response.status_code in (401, 412)
    other = server.root.parent / "other-ca.pem"
    other.write_bytes(make_authority("other", datetime.now(UTC)).certificate_pem())
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        fleet_client(config.link.address, other, key).ActivateNode(ActivateNodeRequest())
    with an_expired_server(server) as address, pytest.raises(httpx.ConnectError, match="expired"):
        fleet_client(address, server.ca, key).ActivateNode(ActivateNodeRequest())
    for line in FORBIDDEN:
        assert ask(server, config, line).startswith(b"HTTP/1.1 404 "), line
    assert b"date:" in ask(server, config, "HEAD / HTTP/1.1").lower()  # sites compare clocks
    seen = (server.logs / "superlink.log").read_text()
    assert "/v1/runtime/x" not in seen
    assert "/v1/control/register-node" in seen  # the operator's own calls are there
    assert seen.count("/v1/control/start-run") == 1
    assert "/v1/fleet/register-node" not in seen
    assert listeners(config.link.superlink_port) == {"0100007F"}  # 127.0.0.1, least byte first


@contextmanager
def an_expired_server(server):
    """Listen with a certificate of the right CA that is out of date, as if it was stolen."""
    authority = load_authority(server.ca_key.read_bytes(), server.ca.read_bytes())
    long_ago = datetime.now(UTC) - timedelta(days=400)
    pair = make_certificate(authority, ("localhost",), long_ago, days=397)
    place = server.root.parent / "expired.pem"
    place.write_bytes(pair.certificate_pem() + pair.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    listener = socket.create_server(("127.0.0.1", 0))

    def greet():
        with suppress(OSError):  # the site hangs up
            context.wrap_socket(listener.accept()[0], server_side=True).close()

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    try:
        yield f"localhost:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(timeout=10)


FORBIDDEN = [
    "POST /v1/control/start-run HTTP/1.1",
    "POST /v1/control/list-nodes HTTP/1.1",
    "POST /v1/runtime/x HTTP/1.1",
    "POST /v1/fleet/register-node HTTP/1.1",
    "POST /v1/fleet/unregister-node HTTP/1.1",
    "POST /v1/fleet/../control/start-run HTTP/1.1",
    "POST /v1/fleet/get-run/../../control/start-run HTTP/1.1",
    "POST /v1/fleet/%2e%2e/control/start-run HTTP/1.1",
    "POST //v1/control/start-run HTTP/1.1",
    "POST /v1/fleet/get-run;/../../control/start-run HTTP/1.1",
    "POST https://localhost/v1/control/start-run HTTP/1.1",
    "GET /v1/fleet/get-run HTTP/1.1",
    "GET /docs HTTP/1.1",
    "GET /openapi.json HTTP/1.1",
    "GET / HTTP/1.1",
]


def ask(server, config, line):
    """Send one request as it is written, which no library would; return the answer's beginning."""
    host, port = split_address(config.link.address)
    context = ssl.create_default_context(cafile=str(server.ca))
    with (
        socket.create_connection((host, port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        lines = [line, "Host: localhost", "Content-Length: 0", "Connection: close", "", ""]
        secure.sendall("\r\n".join(lines).encode())
        return secure.recv(4096)


def listeners(port):
    """Return the addresses at which somebody listens on a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        r[1].split(":")[0] for r in rows if r[3] == "0A" and int(r[1].split(":")[1], 16) == port
    }


def operators_tools_tell_what_happened(server, config):
    url = f"http://127.0.0.1:{config.link.metrics_port}/metrics"
    end = time.monotonic() + 10  # the state is looked at twice a second
    metrics = ""
    while "omote_rounds_total 3" not in metrics and time.monotonic() < end:
        metrics = urllib.request.urlopen(url, timeout=10).read().decode()
        time.sleep(0.2)
    assert 'omote_updates_refused_total{code="TOO_LARGE",site="site-scales"} ' in metrics
    assert 'omote_updates_admitted_total{site="site-a"} ' in metrics
    assert 'omote_program_up{program="proxy"} 1.0' in metrics
    with grpc.insecure_channel(f"127.0.0.1:{config.link.health_port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    shown = run.invoke(app, ["status", str(server.root)]).output
    assert ", well" in shown
    assert "site-nan: in no round yet; refused" in shown
    assert RefusalCode.TOO_LARGE.name in shown


def nothing_of_an_update_is_on_the_disk(server, update):
    """The bytes of one site's weights, which the server alone saw, are in no file of it."""
    pieces = [a.tobytes()[:32] for a in update.arrays.values() if a.size >= 8 and np.any(a)]
    assert len(pieces) > 10
    for path in server.root.rglob("*"):
        if path.is_file() and path.stat().st_size:
            data = path.read_bytes()
            assert not [p for p in pieces if p in data], path
