"""Ctrl-C, once: finish what is being done, then stop. A second one stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Was it asked for?"""

    is_asked: bool = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield what tells whether to stop. After the first signal the old handlers are back."""
    stop = Stop()
    before = [signal.getsignal(number) for number in SIGNALS]

    def restore() -> None:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.is_asked = True
        restore()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
