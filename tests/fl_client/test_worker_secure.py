"""Secure sums through the real path at a site: Flower's message, forwarder, socket, worker."""

from contextlib import ExitStack

from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import read_records, write_records
from core_model.protocol.secure import KeysRequest
from core_model.protocol.secure_records import decode_secure_reply, encode_secure_request
from fl_client.app import app as forwarder
from fl_client.config import load_site_config
from fl_client.diary import ANSWERED, SIGNED, Diary
from fl_client.socket_client import ask_round
from fl_server import app
from fl_server.coordinator import Coordinator
from simulations.grid import InProcessGrid
from tests.fl_client.serving import served
from tests.secure_federation import write_secure_federation, write_secure_sites


def test_workers_add_up_in_secret_over_their_sockets(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(app, "POLL_S", 0.01)
    folders = write_secure_sites(tmp_path, people=1)
    config = write_secure_federation(tmp_path, folders)
    coordinator = Coordinator(config.model_copy(update={"stages": config.stages[1:]}))
    with ExitStack() as stack:
        nodes = {}
        for number, folder in enumerate(folders.values(), start=1):
            _, socket = stack.enter_context(served(folder.config))
            nodes[number] = {"socket": str(socket)}
        app.drive(InProcessGrid(forwarder, nodes), coordinator)
        (summary,) = coordinator.summaries
        assert (len(summary.admitted), summary.refused, summary.sum_lost) == (3, {}, None)

        # Asked for the same round again, after it was signed: a code and no word.
        again = KeysRequest(plan=Coordinator(coordinator.config.model_copy(
            update={"output": tmp_path / "other"})).request("site-a").plan)  # fmt: skip
        raw = write_records(encode_secure_request(again))
        reply = ask_round(load_site_config(folders["site-a"].config).socket, raw, 60.0)
        assert decode_secure_reply(read_records(reply)) is RefusalCode.OUT_OF_TURN
        assert len(reply) < 60
    state = load_site_config(folders["site-a"].config).state
    outcomes = [entry.outcome for entry in Diary(state).entries()]
    assert outcomes == [ANSWERED, ANSWERED, SIGNED, ANSWERED, "OUT_OF_TURN"]
