"""Secure sums with a real server and two real sites; a third one, with all keys, goes silent."""

from contextlib import ExitStack

import numpy as np
import pytest

from core_model.checkpoint import load_checkpoint
from core_model.protocol.enrolment import Invitation, read_json
from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import encode_site_id
from core_model.protocol.secure import MaskedRequest, UnmaskRequest
from core_model.protocol.secure_records import decode_any_request, encode_secure_reply
from fl_client.config import load_site_config
from fl_client.errors import RoundRefusedError
from fl_client.node import Node
from fl_client.node_folder import NodeFolder
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import open_site
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from simulations.loop import run_local
from tests.fl_client.serving import served
from tests.integration.rogue_node import RogueNode
from tests.integration.server_folder import has_proxy, make_server, node_key, started, told
from tests.secure_federation import write_secure_sites

ROUNDS = 2
TIMEOUT_S = 30.0  # of each message: so long the server waits for the silent site
SILENT = "site-c"


class _GoneError(Exception):
    """The site's line is cut."""


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_a_silent_site_is_in_the_sum_only_if_its_update_came(tmp_path) -> None:
    """In round 1 it sends its masked update and no share; in round 2 it never sends the update."""
    sites = write_secure_sites(tmp_path / "far")
    silent_key, silent_public = node_key()
    folders = {
        s: NodeFolder(load_site_config(f.config).node) for s, f in sites.items() if s != SILENT
    }
    public = {s: folder.make_key() for s, folder in folders.items()} | {SILENT: silent_public}
    server = make_server(tmp_path / "server", sites, public, ROUNDS, max_update_norm=50.0)
    add_up_in_secret(server)
    config = load_federation(server.federation)
    with ExitStack() as stack:
        process = stack.enter_context(started(server))
        for site_id, folder in folders.items():
            folder.join(read_json(sites[site_id].folder / "invitation.json", Invitation))
            _, socket = stack.enter_context(served(sites[site_id].config))
            stack.callback(Node(folder, socket).stop)
        answer = silent_site(open_site(sites[SILENT].config))
        rogue = RogueNode(config.link.address, server.ca, silent_key, answer)
        stack.callback(rogue.stop)
        assert process.wait(timeout=400) == 0, told(server)
        assert {type(f) for f in rogue.faults} == {_GoneError}

    ended = Coordinator(config)
    first, second = ended.summaries
    assert (set(first.admitted), first.refused, first.sum_lost) == (set(sites), {}, None)
    assert set(second.admitted) == set(folders)
    assert (set(second.refused), second.sum_lost) == ({SILENT}, None)
    plain = run_in_clear(config, tmp_path)
    begun = load_checkpoint(server.root / "initial.safetensors")[0]
    assert furthest(plain, begun) > 1e-3
    # Float32 of both means, the fixed-point code, and what AdamW makes of them in round 2.
    assert furthest(plain, ended.arrays) < 1e-5


def furthest(one, other):
    return max(float(np.abs(one[n] - other[n]).max()) for n in one if n in other)


def silent_site(site):
    rounds = SecureRounds()

    def answer(message):
        if message.metadata.message_type.startswith("query"):
            return encode_site_id(site.site_id)
        request = decode_any_request(message.content)
        if isinstance(request, UnmaskRequest):
            raise _GoneError
        if isinstance(request, MaskedRequest) and request.request.plan.round == 2:
            raise _GoneError
        return encode_secure_reply(rounds.answer(request, site))

    return answer


def run_in_clear(config, root):
    """Return the weights of the same rounds in clear, the third site missing in the second."""

    def run(request, site):
        if site.site_id == SILENT and request.plan.round == 2:
            raise RoundRefusedError(RefusalCode.SITE_FAULT, "gone")
        return run_round(request, site)

    (stage,) = config.stages
    in_clear = stage.model_copy(update={"secure_sum": None})
    changed = config.model_copy(update={"output": root / "plain", "stages": (in_clear,)})
    return run_local(changed, write_secure_sites(root / "near"), run=run)[0].arrays


def add_up_in_secret(server) -> None:
    text = server.federation.read_text()
    for old, new in {
        "max_update_norm = 50.0": "max_update_norm = 50.0\nsecure_sum = { threshold = 2 }",
        "timeout_s = 300.0": f"timeout_s = {TIMEOUT_S}",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    server.federation.write_text(text)
