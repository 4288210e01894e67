"""Run a site: the worker in this process, the SuperNode beside it, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from fl_client.config import SiteConfig, load_site_config
from fl_client.diary import ANSWERED, SIGNED, Diary, Entry
from fl_client.errors import NodeError
from fl_client.node import Node
from fl_client.node_folder import NodeFolder
from fl_client.recovery import only_worker, recover
from fl_client.worker import Worker
from fl_client.worker_socket import WorkerSocket

POLL_S = 0.5
SEND_S = 8.0  # for the SuperNode to send the answer of a round that ended while we stop
LOG_BYTES, LOG_FILES = 5_000_000, 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to run."""

    with_node: bool = True  # else another user starts it: omote-site node
    keep_request: bool = False  # the last one, for a dry run


class _Signals:
    """The first signal asks to stop, the second insists."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.insisted = threading.Event()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Count."""
        (self.insisted if self.asked.is_set() else self.asked).set()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch Ctrl-C and what a service manager sends."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


def run_site(path: Path, options: Options, say: Say) -> None:
    """Serve rounds until Ctrl-C.

    A round that runs is finished and sent first; a second Ctrl-C gives it up.

    Args:
        path: The site.toml.
        options: How to run.
        say: Tells the operator what happens.

    Raises:
        SiteError: The worker or the SuperNode cannot be started, or the SuperNode ended.
        ConsentError: The consent log, or the operator's key, cannot be used.
        ValueError: The site.toml, a list of recordings or the device is not right.
    """
    config = load_site_config(path)
    node = NodeFolder(config.node)
    if options.with_node:
        node.joined()  # say so before torch is there
        node.public_key()
    signals = _Signals()
    with only_worker(config.state), logging_to(config.state / "worker.log"), signals.caught():
        diary = Diary(config.state)
        if (killed := recover(config.state, diary)) is not None:
            say(
                f"round {killed.round} of {killed.run_id} was interrupted; the server may ask again"
            )
        worker = Worker(
            path,
            diary,
            on_entry=lambda entry: say(tell(entry)),
            keep=config.state if options.keep_request else None,
        )
        site = worker.warm_up()
        socket = WorkerSocket(worker, config.socket, config.socket_group)
        say(f"worker of {site.site_id}: ready on {site.device}")
        try:
            problem = _serve(worker, socket, config, options, signals, say)
        finally:
            socket.close(0.0 if signals.insisted.is_set() else 5.0)
        if worker.stop():
            say(problem or "gave up the round that was running")
            # Its thread cannot be ended. Nothing of the round is on record but that it began.
            os._exit(1)
    if problem is not None:
        raise NodeError(problem)
    say("stopped")


def _serve(
    worker: Worker,
    socket: WorkerSocket,
    config: SiteConfig,
    options: Options,
    signals: _Signals,
    say: Say,
) -> str | None:
    """Serve until told to stop; return what went wrong, if something did."""
    node = None
    try:
        if options.with_node:
            node = Node(NodeFolder(config.node), config.socket)
            say(f"SuperNode: started, its log is {config.node / 'supernode.log'}")
        while not signals.asked.wait(POLL_S):
            if node is not None and node.has_ended():
                log = config.node / "supernode.log"
                return f"the SuperNode ended; see {log}, then: omote-site check"
        socket.refuse()
        if worker.stop():
            say("a round is running: stopping when it is done; Ctrl-C again gives it up")
            while not worker.wait(POLL_S) and not signals.insisted.is_set():
                pass
            if node is not None:
                signals.insisted.wait(SEND_S)
        return None
    finally:
        if node is not None:
            node.stop()


def tell(entry: Entry) -> str:
    """Return one line about a request that was answered."""
    name = f"round {entry.round} of {entry.run_id} ({entry.purpose})" if entry.run_id else "request"
    if entry.outcome == SIGNED:
        return f"{name}: signed, {entry.num_bytes:,} bytes, {entry.seconds:.1f} s"
    if entry.outcome == ANSWERED:
        return f"{name}: a message of a secure sum, {entry.num_bytes:,} bytes"
    return f"{name}: refused, {entry.outcome}"


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write what is logged to a file of limited size that only its owner can read."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()
