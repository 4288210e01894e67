"""Carries messages to nodes and replies back; asks again where a fault took an answer away.

A node that died, a worker that starts anew, one that is still busy with what it was asked before:
each is asked again, in the same round. A refusal stands: somebody, or a rule, decided it.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from flwr.app import Message
from flwr.serverapp import Grid

from core_model.protocol.messages import RefusalCode
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import decode_refusal

POLL_S = 0.5
LOOK_S = 2.0  # between two looks at which nodes are there
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0  # before a node is asked again; each is twice the last
UNREACHED = {3, 4, 5}  # Flower's codes of a message or reply that is gone, and of a lost node
CRASHED = 8  # Flower's code of the process that carries a message at a site

Make = Callable[[int, float], Message]
"""Makes the message of a node, which is of use for so many seconds."""


@dataclass(frozen=True)
class Patience:
    """How long, and how often."""

    timeout_s: float  # for all replies
    max_asks: int = 1  # of one node that could not answer
    away_s: float = 0.0  # for a node that is gone to come back


class _Loss(enum.Enum):
    """What took an answer away."""

    FAULT = enum.auto()
    BUSY = enum.auto()  # costs a site nothing, so it may be as often as it likes


@dataclass
class _Asked:
    """One node."""

    node: int
    number: str | None = None  # of our last message
    pushed_at: datetime | None = None  # None: it is to be asked, when it is due
    due: float = 0.0
    pause: float = FIRST_PAUSE_S
    faults: int = 0
    gone_at: float | None = None  # None: it is there
    last: Message | None = None  # what it answered last


class Asking:
    """Asks some nodes the same thing.

    Args:
        grid: How to reach them.
        make: Makes the message of each.
        patience: How long, and how often.
        is_needed: Is there still something to be learned from a node?

    Attributes:
        gone: Nodes that were given up while they were not there.
    """

    def __init__(
        self,
        grid: Grid,
        make: Make,
        patience: Patience,
        is_needed: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._grid, self._make = grid, make
        self._patience, self._is_needed = patience, is_needed
        self._open: dict[int, _Asked] = {}  # nodes whose last word was not heard
        self._waiting: dict[str, _Asked] = {}  # messages that may still be answered
        self._end = self._looked_at = 0.0
        self.gone: set[int] = set()

    def replies(self, nodes: Iterable[int]) -> Iterator[tuple[int, Message | None]]:
        """Yield node and reply as replies come, None for those not there in time.

        A reply belongs to the message that it answers: for a lost node Flower answers itself, under
        another node's number. Replies are pulled one by one, so that one model is in memory, not
        all.
        """
        self._end = time.monotonic() + self._patience.timeout_s
        self._looked_at = time.monotonic()
        for node in nodes:
            self._open[node] = asked = _Asked(node)
            if not self._push(asked):
                yield self._close(asked)
        while self._open:
            is_over, before = time.monotonic() >= self._end, len(self._open)
            yield from self._pull()
            if is_over:
                break
            yield from self._look()
            if self._open and len(self._open) == before:
                time.sleep(min(POLL_S, max(0.0, self._end - time.monotonic())))
        for asked in list(self._open.values()):
            yield self._close(asked)

    def _push(self, asked: _Asked) -> bool:
        """Send a node its message; False: that failed, and once too often."""
        ttl = max(self._end - time.monotonic(), POLL_S)
        asked.pushed_at = datetime.now(UTC)
        (asked.number,) = self._grid.push_messages([self._make(asked.node, ttl)]) or (None,)
        if asked.number is None:  # Flower could not send it
            return self._ask_again(asked, _Loss.FAULT)
        self._waiting[asked.number] = asked
        return True

    def _pull(self) -> Iterator[tuple[int, Message | None]]:
        for number, asked in list(self._waiting.items()):
            if number not in self._waiting:
                continue  # another message of the same node was answered just now
            for reply in self._grid.pull_messages([number]):
                if reply.metadata.reply_to_message_id != number:
                    continue
                del self._waiting[number]
                loss = _loss(reply)
                if loss is not None and number != asked.number:
                    continue  # of a message that was given up: it is asked again already
                asked.last = reply
                if loss is None or not self._ask_again(asked, loss):
                    yield self._close(asked)

    def _look(self) -> Iterator[tuple[int, Message | None]]:
        """See which nodes are there; ask those that are due."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        there = {n.node_id: n.last_activated_at for n in self._grid.get_nodes()}
        for asked in list(self._open.values()):
            if asked.pushed_at is not None:
                is_going_on = self._check_kept(asked, there.get(asked.node))
            elif asked.node in there:
                asked.gone_at = None
                is_going_on = asked.due > now or self._push(asked)
            else:
                asked.gone_at = asked.gone_at or now
                is_going_on = now - asked.gone_at < self._patience.away_s
            if not is_going_on:
                yield self._close(asked)

    def _check_kept(self, asked: _Asked, activated_at: str | None) -> bool:
        """See that a node did not start anew since it has our message: it would have lost it."""
        assert asked.pushed_at is not None
        if not activated_at or datetime.fromisoformat(activated_at) <= asked.pushed_at:
            return True
        return self._ask_again(asked, _Loss.FAULT)

    def _ask_again(self, asked: _Asked, loss: _Loss) -> bool:
        """Let a node be asked once more after a pause; False: it was asked often enough."""
        most = self._patience.max_asks
        asked.faults += loss is _Loss.FAULT
        if most == 1 or asked.faults >= most or not self._is_needed(asked.node):
            return False
        asked.number = asked.pushed_at = None
        asked.due = time.monotonic() + asked.pause
        asked.pause = min(2 * asked.pause, LONGEST_PAUSE_S)
        return True

    def _close(self, asked: _Asked) -> tuple[int, Message | None]:
        """Return the last word of a node: nothing more is heard from it."""
        del self._open[asked.node]
        self._waiting = {n: a for n, a in self._waiting.items() if a is not asked}
        if asked.gone_at is not None:
            self.gone.add(asked.node)
        return asked.node, asked.last


def _loss(reply: Message) -> _Loss | None:
    """Return what took an answer away; None: this is one, or a decision."""
    if reply.has_error():
        return _Loss.FAULT if reply.error.code in {*UNREACHED, CRASHED} else None
    if "refusal" not in reply.content:
        return None
    try:
        code = decode_refusal(reply.content)
    except RecordError:
        return None
    return {RefusalCode.WORKER_AWAY: _Loss.FAULT, RefusalCode.SITE_BUSY: _Loss.BUSY}.get(code)
