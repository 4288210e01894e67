"""Make what comes next while the device works: a bounded number ahead, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def prefetched(
    keys: Iterable[K], make: Callable[[K], V], *, threads: int, ahead: int
) -> Iterator[V]:
    """Yield ``make(key)`` for each key, in order.

    Never more than ``ahead`` results wait. Decoding, decrypting and copying release Python's lock,
    so threads suffice. What ``make`` raises is raised where its result would have come.

    Args:
        keys: Taken one by one, as there is room.
        make: Called in a thread of its own; must be safe to call from several.
        threads: How many; 0 makes everything when it is asked for.
        ahead: How many results may wait.
    """
    if threads == 0:
        yield from map(make, keys)
        return
    waiting: deque[Future[V]] = deque()
    pool = ThreadPoolExecutor(threads, "prefetch")
    try:
        for key in keys:
            waiting.append(pool.submit(make, key))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
