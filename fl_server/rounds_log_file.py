"""Why the rounds ended, in a file: Flower keeps what its ServerApp says to itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fl_server.folder import ServerFolder

_log = logging.getLogger("fl_server")


@contextmanager
def log_to(folder: ServerFolder) -> Iterator[None]:
    """Write what this package logs, and what ends it, to ``logs/rounds.log``; if there is one."""
    if not folder.logs.is_dir():
        yield
        return
    handler = logging.FileHandler(folder.logs / "rounds.log", mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    except BaseException:
        _log.exception("the rounds ended")
        raise
    finally:
        _log.removeHandler(handler)
        handler.close()
