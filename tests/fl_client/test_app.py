"""What a site's ClientApp says when something is wrong: a code, and not one word more."""

from pathlib import Path

import pytest
from flwr.app import Message, RecordDict

from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import decode_reply, encode_request
from fl_client.app import make_app
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from simulations.client_app import direct_app
from simulations.grid import InProcessGrid
from tests.federation import write_federation, write_sites


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path)
    request = Coordinator(write_federation(tmp_path, folders)).request("site-a")
    return folders["site-a"], encode_request(request)


def opened(context):
    return open_site(Path(str(context.node_config["site"])))


def ask(client_app, folder, kind, content):
    grid = InProcessGrid(client_app, {1: {"site": str(folder.config)}}, keep_raw=True)
    (reply,) = grid.send_and_receive([Message(content, 1, kind)])
    return reply, b"".join(c.raw for c in grid.crossings)


def break_key(folder):
    (folder.folder / "consent" / "keys" / "operator.key").chmod(0o644)


def break_config(folder):
    folder.config.write_text("site_id = 7")


def lose_config(folder):
    folder.config.unlink()


def break_recordings(folder):
    (folder.folder / "data" / "recordings.csv").write_text("secret")


@pytest.mark.parametrize("break_it", [break_key, break_config, lose_config, break_recordings])
@pytest.mark.parametrize("kind", ["train", "query.site"])
def test_site_that_cannot_be_opened_says_a_code_and_nothing_else(setting, break_it, kind) -> None:
    folder, request = setting
    break_it(folder)
    reply, raw = ask(direct_app(opened), folder, kind, request if kind == "train" else RecordDict())
    assert decode_reply(reply.content) is RefusalCode.SITE_FAULT
    assert len(raw) < 60
    assert str(folder.folder).encode() not in raw


def test_the_grid_shows_what_flower_would_send_of_an_error(setting) -> None:
    """So that the test above can fail."""
    folder, request = setting

    def careless(context):
        raise ValueError(f"no such file: {folder.folder}")

    client_app = make_app(careless, careless)
    client_app._registered_funcs["train.default"] = lambda _, context: careless(context)
    reply, raw = ask(client_app, folder, "train", request)
    assert reply.has_error()
    assert str(folder.folder).encode() in raw


def test_request_that_is_none_is_refused(setting) -> None:
    folder, _ = setting
    reply, _ = ask(direct_app(opened), folder, "train", RecordDict())
    assert decode_reply(reply.content) is RefusalCode.REQUEST_DAMAGED


def test_error_of_a_site_that_does_not_know_better(setting) -> None:
    folder, request = setting

    def raising(request, site):
        raise RuntimeError("/data/patient-1")

    client_app = direct_app(lambda _: open_site(folder.config), raising)
    reply, raw = ask(client_app, folder, "train", request)
    assert decode_reply(reply.content) is RefusalCode.SITE_FAULT
    assert b"patient" not in raw
