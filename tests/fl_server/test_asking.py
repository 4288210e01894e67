"""Asking again: what a fault took away comes again, what was decided stands."""

from datetime import UTC, datetime, timedelta

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo

from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import encode_refusal, encode_site_id
from fl_server import asking
from fl_server.asking import Asking, Patience
from simulations.grid import InProcessGrid

UPDATE = encode_site_id("an update")  # whatever is no refusal
AWAY = encode_refusal(RefusalCode.WORKER_AWAY)
BUSY = encode_refusal(RefusalCode.SITE_BUSY)
LOST, CRASHED, RAISED, WRONG_BUNDLE = Error(5, ""), Error(8, ""), Error(2, ""), Error(7, "")
SILENCE = None


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


class ScriptedGrid(InProcessGrid):
    """Each node answers by its script, one answer after another, the last one for ever."""

    def __init__(self, clock, **scripts) -> None:
        super().__init__(None, {})
        self.clock = clock
        self.scripts = {int(name[1:]): script for name, script in scripts.items()}
        self.asked: dict[int, list[float]] = {node: [] for node in self.scripts}
        self.away: set[int] = set()
        self.messages: dict[str, Message] = {}
        self.activated: dict[int, str] = {}

    def get_nodes(self):
        return [
            NodeInfo(node_id=n, last_activated_at=self.activated.get(n, ""))
            for n in self.scripts
            if n not in self.away
        ]

    def push_messages(self, messages):
        pushed = list(messages)
        numbers = super().push_messages(pushed)
        self.messages |= dict(zip(numbers, pushed, strict=True))
        return numbers

    def pull_messages(self, ids):
        return [r for r in super().pull_messages(ids) if r is not SILENCE]

    def _deliver(self, message):
        node = message.metadata.dst_node_id
        script = self.scripts[node]
        answer = script[min(len(self.asked[node]), len(script) - 1)]
        self.asked[node].append(self.clock.now)
        return SILENCE if answer is SILENCE else Message(answer, reply_to=message)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    return clock


def make(node, ttl):
    assert ttl > 0
    return Message(RecordDict(), node, "train", ttl=ttl)


def ask(grid, is_needed=lambda _: True, **patience):
    """Return what came of each node, in order, and when."""
    found = Asking(grid, make, Patience(**{"timeout_s": 600.0, **patience}), is_needed)
    came = [(n, reply, grid.clock.now) for n, reply in found.replies(sorted(grid.scripts))]
    return found, came


def is_update(reply):
    return reply is not None and not reply.has_error() and "site" in reply.content


@pytest.mark.parametrize("loss", [LOST, CRASHED, AWAY], ids=["node", "process", "worker"])
def test_what_a_fault_took_away_is_asked_for_again_after_longer_pauses(clock, loss) -> None:
    grid = ScriptedGrid(clock, n1=[loss, loss, UPDATE], n2=[UPDATE])
    _, came = ask(grid, max_asks=3)
    assert [(n, is_update(reply)) for n, reply, _ in came] == [(2, True), (1, True)]
    first, second, third = grid.asked[1]
    assert 2.0 <= second - first < third - second < 8.0


DECISIONS = [
    encode_refusal(RefusalCode.CONSENT_CHANGED),
    encode_refusal(RefusalCode.NOT_NOW),
    encode_refusal(RefusalCode.SITE_FAULT),
    RAISED,
    WRONG_BUNDLE,
]


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_refusal_stands(clock, decision) -> None:
    grid = ScriptedGrid(clock, n1=[decision, UPDATE])
    _, ((_, reply, at),) = ask(grid, max_asks=8)
    assert not is_update(reply)
    assert (len(grid.asked[1]), at) == (1, 1000.0)


def test_a_worker_that_never_starts_is_asked_so_often_and_no_more(clock) -> None:
    grid = ScriptedGrid(clock, n1=[AWAY])
    _, ((_, reply, at),) = ask(grid, max_asks=4)
    assert reply.content == AWAY
    assert len(grid.asked[1]) == 4
    assert at < 1000 + 30


def test_a_busy_site_is_asked_until_the_time_is_over(clock) -> None:
    grid = ScriptedGrid(clock, n1=[BUSY] * 9 + [UPDATE], n2=[BUSY])
    _, came = ask(grid, max_asks=2)
    assert [(n, is_update(reply)) for n, reply, _ in came] == [(1, True), (2, False)]
    assert came[1][2] == 1600.0


def test_a_silent_site_runs_out_of_time_and_holds_nobody_up(clock) -> None:
    grid = ScriptedGrid(clock, n1=[SILENCE], n2=[UPDATE], n3=[AWAY, UPDATE])
    _, came = ask(grid, max_asks=8)
    assert [(n, is_update(reply)) for n, reply, _ in came] == [(2, True), (3, True), (1, False)]
    assert [at for _, _, at in came] == pytest.approx([1000, 1002, 1600], abs=1)
    assert len(grid.asked[1]) == 1


def test_a_node_that_started_anew_has_lost_our_message(clock) -> None:
    """It is there all the time, as far as Flower knows, so nobody says that it is lost."""
    grid = ScriptedGrid(clock, n1=[SILENCE, UPDATE])
    grid.activated[1] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    found = Asking(grid, make, Patience(600.0, max_asks=8))
    replies = found.replies([1])
    clock.sleep = lambda s: started_anew(grid, clock, s)
    assert is_update(next(replies)[1])
    assert len(grid.asked[1]) == 2


def started_anew(grid, clock, seconds):
    clock.now += seconds
    if clock.now > 1010 and len(grid.asked[1]) == 1:
        grid.activated[1] = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()


def test_of_two_answers_of_one_node_one_is_heard(clock) -> None:
    """It seemed to start anew, and then answered what it had and what came after."""
    grid = ScriptedGrid(clock, n1=[SILENCE, SILENCE, UPDATE])
    replies = Asking(grid, make, Patience(600.0, max_asks=8)).replies([1])

    def sleep(seconds):
        started_anew(grid, clock, seconds)
        if len(grid.asked[1]) == 2:
            for number in ("m1", "m2"):
                grid._replies[number] = Message(UPDATE, reply_to=grid.messages[number])

    clock.sleep = sleep
    assert [is_update(reply) for _, reply in replies] == [True]


def test_a_node_that_does_not_come_back_is_given_up(clock) -> None:
    grid = ScriptedGrid(clock, n1=[LOST], n2=[UPDATE])
    grid.away = {1}
    found, came = ask(grid, max_asks=8, away_s=60.0)
    assert [n for n, _, _ in came] == [2, 1]
    assert 1060 <= came[1][2] < 1070
    assert found.gone == {1}
    assert len(grid.asked[1]) == 1


def test_a_node_that_comes_back_in_time_is_asked(clock) -> None:
    grid = ScriptedGrid(clock, n1=[LOST, UPDATE])
    grid.away = {1}
    found = Asking(grid, make, Patience(600.0, max_asks=8, away_s=60.0))
    clock.sleep = lambda s: come_back(grid, clock, s)
    assert is_update(next(found.replies([1]))[1])
    assert found.gone == set()


def come_back(grid, clock, seconds):
    clock.now += seconds
    if clock.now > 1030:
        grid.away = set()


def test_nobody_is_asked_again_for_what_is_there(clock) -> None:
    grid = ScriptedGrid(clock, n1=[LOST, UPDATE], n2=[UPDATE])
    ask(grid, is_needed=lambda node: node != 1, max_asks=8)
    assert len(grid.asked[1]) == 1
