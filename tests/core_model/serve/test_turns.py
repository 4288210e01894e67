"""One frame at a time, the newest of each stream, and never more than a few in memory."""

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.serve.mailbox import Mailbox
from core_model.serve.reader_pb2 import Frame
from core_model.serve.turns import BusyError, PassedOverError, Turns


def started(target) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


class Waiter:
    """Waits for a turn in a thread of its own; says how that went."""

    def __init__(self, turns, stream, order) -> None:
        self.outcome = None
        self._args = (turns, stream, order)
        self.thread = started(self._wait)

    def _wait(self) -> None:
        turns, stream, order = self._args
        try:
            with turns.turn(stream):
                order.append(stream)
            self.outcome = "read"
        except (BusyError, PassedOverError) as e:
            self.outcome = type(e).__name__


def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.002)
    raise AssertionError("it did not happen")


def test_the_newest_frame_of_a_stream_wins_and_keeps_the_place() -> None:
    turns, order = Turns(), []
    with turns.turn("held"):
        old = Waiter(turns, "a", order)
        until(lambda: "a" in turns._waiting)
        other = Waiter(turns, "b", order)
        until(lambda: "b" in turns._waiting)
        new = Waiter(turns, "a", order)
        old.thread.join(5)
        assert old.outcome == "PassedOverError"
    for waiter in (other, new):
        waiter.thread.join(5)
        assert waiter.outcome == "read"
    assert order == ["a", "b"]


def test_whoever_comes_when_many_wait_is_turned_away_at_once() -> None:
    turns, order = Turns(max_waiting=2), []
    with turns.turn("held"):
        waiting = [Waiter(turns, name, order) for name in "ab"]
        until(lambda: len(turns._waiting) == 2)
        late = Waiter(turns, "c", order)
        late.thread.join(5)
        assert late.outcome == "BusyError"
    for waiter in waiting:
        waiter.thread.join(5)
    assert sorted(order) == ["a", "b"]


def test_a_turn_that_fails_is_given_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.turn("a"):
        raise ZeroDivisionError
    with turns.turn("a"):
        pass


@settings(max_examples=10, deadline=None)
@given(streams=st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_whatever_comes_the_last_frame_of_every_stream_is_read(streams) -> None:
    turns, order, waiters = Turns(), [], []
    with turns.turn("held"):
        for stream in streams:
            waiters.append(Waiter(turns, stream, order))
            mine = len(waiters)
            until(lambda mine=mine: sum(w.outcome is None for w in waiters) == len(turns._waiting)
                  and len(waiters) == mine)  # fmt: skip
    for waiter in waiters:
        waiter.thread.join(5)
    assert Counter(order) == Counter(set(streams))
    assert [w.outcome for w in waiters].count("read") == len(set(streams))


def frame(may_skip=False) -> Frame:
    return Frame(may_skip=may_skip)


def test_a_frame_that_may_be_skipped_gives_way_and_the_count_tells() -> None:
    box = Mailbox()
    for _ in range(4):
        assert box.put(frame(may_skip=True))
    box.close()
    assert [number for number, _ in box] == [4]


def test_a_frame_that_may_not_be_skipped_holds_up_the_sender() -> None:
    box, sent = Mailbox(), []

    def send() -> None:
        for k in range(5):
            box.put(frame())
            sent.append(k)
        box.close()

    thread = started(send)
    until(lambda: len(sent) == 1)
    threading.Event().wait(0.05)
    assert sent == [0]
    assert [number for number, _ in box] == [1, 2, 3, 4, 5]
    thread.join(5)


def test_a_sender_is_let_go_when_nobody_takes_any_more() -> None:
    box, answers = Mailbox(), []
    box.put(frame())
    thread = started(lambda: answers.append(box.put(frame())))
    box.close()
    thread.join(5)
    assert answers == [False]
