import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from core_model.protocol.weight_records import NAMES, decode_weights, encode_weights
from simulations.grid import InProcessGrid


@pytest.fixture
def seen():
    return []


@pytest.fixture
def grid(seen):
    app = ClientApp()

    @app.train()
    def train(message: Message, context) -> Message:
        seen.append((context.node_config["site"], message.content))
        if message.content["config"]["fail"]:
            raise ValueError("from the site")
        kept = {name: message.content[name] for name in NAMES}
        reply = RecordDict({**kept, "told": ConfigRecord({"a": 1})})
        return Message(reply, reply_to=message)

    return InProcessGrid(app, {2: {"site": "b"}, 1: {"site": "a"}})


def message(node, array, *, fail=False):
    content = RecordDict({**encode_weights({"w": array}), "config": ConfigRecord({"fail": fail})})
    return Message(content, node, "train")


@pytest.fixture
def array():
    return np.arange(1000, dtype=np.float32)


def test_nothing_is_shared_by_reference(grid, seen, array) -> None:
    (reply,) = grid.send_and_receive([message(1, array)])
    ((_, content),) = seen
    assert reply.content["arrays"]["weights"] is not content["arrays"]["weights"]
    for where in (content, reply.content):
        got = decode_weights(where)["w"]
        assert not np.shares_memory(got, array)
        assert np.array_equal(got, array)


def test_each_crossing_is_noted_with_its_names_and_bytes(grid, seen, array) -> None:
    assert grid.get_node_ids() == [1, 2]
    replies = grid.send_and_receive([message(n, array) for n in grid.get_node_ids()])
    assert [site for site, _ in seen] == ["a", "b"]
    assert [r.metadata.src_node_id for r in replies] == [1, 2]
    for node, crossing in enumerate(grid.crossings, start=1):
        assert (crossing.node_id, crossing.arrays, crossing.fields) == (node, ("w",), ("a",))
        assert 4000 <= crossing.num_bytes < 4500
        assert crossing.raw == b""  # kept only where a test asks for it


def test_site_that_raises_is_an_error_reply_to_its_message(grid, array) -> None:
    messages = [message(1, array, fail=True), message(2, array)]
    ids = grid.push_messages(messages)
    bad, good = grid.pull_messages(ids)
    assert (bad.has_error(), good.has_error()) == (True, False)
    assert [bad.metadata.reply_to_message_id, good.metadata.reply_to_message_id] == ids
    assert "from the site" in bad.error.reason
    assert grid.pull_messages(ids) == []
