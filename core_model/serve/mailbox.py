"""Holds the one frame that waits between whoever sends and whoever reads.

A frame that may be skipped gives way to the next; any other makes the sender wait, so that a stream
never takes more memory than two frames.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from core_model.serve.reader_pb2 import Frame


class Mailbox:
    """One place. One thread puts, one takes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: tuple[int, Frame] | None = None
        self._count = 0
        self._is_closed = False

    def put(self, frame: Frame) -> bool:
        """Leave a frame, once there is room; False: nobody takes any more."""
        with self._changed:
            self._count += 1
            while self._frame is not None and not self._frame[1].may_skip and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            self._frame = (self._count, frame)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Put and take no more; what waits is still taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        """Yield frames and their numbers, from 1, until closed."""
        while True:
            with self._changed:
                while self._frame is None and not self._is_closed:
                    self._changed.wait()
                if self._frame is None:
                    return
                found, self._frame = self._frame, None
                self._changed.notify_all()
            yield found
