"""Who is read next: one frame at a time, and of each stream at most one waits, the newest.

A camera is faster than a model. What waits would be old when its turn comes, so a newer frame takes
its place, and memory stays bounded whatever is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WAITING = 8  # streams; more are turned away


class BusyError(Exception):
    """Too many wait already."""


class PassedOverError(Exception):
    """A newer frame of the same stream came while this one waited."""


class Turns:
    """Gives one turn at a time, in the order in which streams began to wait."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: dict[str, object] = {}  # of each stream its newest, the longest wait first
        self._is_taken = False

    @contextmanager
    def turn(self, stream: str) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            BusyError: Too many wait.
            PassedOverError: A newer frame of this stream came first.
        """
        me = object()
        with self._changed:
            if stream not in self._waiting and len(self._waiting) >= self._max_waiting:
                raise BusyError
            self._waiting[stream] = me  # an older frame loses its place to this one
            self._changed.notify_all()
            while self._waiting.get(stream) is me and not self._is_next(stream):
                self._changed.wait()
            if self._waiting.get(stream) is not me:
                raise PassedOverError
            del self._waiting[stream]
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def _is_next(self, stream: str) -> bool:
        return not self._is_taken and next(iter(self._waiting)) == stream
