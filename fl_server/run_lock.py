"""A lock that one process holds as long as it lives; the file tells which."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_server.errors import StartError

POLL_S = 0.1
WATCH_S = 1.0


@contextmanager
def hold(path: Path, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock.

    Raises:
        StartError: Another process holds it, and still does after ``timeout_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    end = time.monotonic() + timeout_s
    try:
        while not _try_lock(handle):
            if time.monotonic() >= end:
                raise StartError(f"{path}: process {_pid(handle)} is at work here; stop it first")
            time.sleep(POLL_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def holder(path: Path) -> int | None:
    """Return the process that holds the lock; None if nobody does."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(handle) else _pid(handle)
    finally:
        os.close(handle)


def wait_until_free(path: Path, timeout_s: float) -> int | None:
    """Wait until nobody holds the lock; return who still does after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while (pid := holder(path)) is not None and time.monotonic() < end:
        time.sleep(POLL_S)
    return pid


def end_with_holder(path: Path) -> None:
    """End this process as soon as the one that holds the lock now does not any more.

    For a child of a child, whose parents outlive each other by minutes. It ends as by ``kill -9``:
    what it writes is written whole or not at all.
    """
    pid = holder(path)
    if pid is None:
        return

    def watch() -> None:
        while holder(path) == pid:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(handle: int) -> int:
    text = os.pread(handle, 20, 0)
    return int(text) if text.isdigit() else 0
