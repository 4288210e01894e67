"""A worker on a real socket, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_client.config import load_site_config
from fl_client.diary import Diary
from fl_client.worker import Worker
from fl_client.worker_socket import WorkerSocket


@contextmanager
def served(site_toml: Path, **options: object) -> Iterator[tuple[Worker, Path]]:
    """Yield a worker and its socket."""
    config = load_site_config(site_toml)
    worker = Worker(site_toml, Diary(config.state), **options)
    socket = WorkerSocket(worker, config.socket, config.socket_group)
    try:
        yield worker, config.socket
    finally:
        socket.close(0.0)
