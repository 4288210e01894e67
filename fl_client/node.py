"""Start and stop the SuperNode beside the worker.

It gets a process group of its own, and an environment in which nothing leads to data or keys.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import fl_client
from fl_client.node_folder import NodeFolder

STOP_S = 10.0


def environment(node: NodeFolder) -> dict[str, str]:
    """Return all variables that the SuperNode gets; none is inherited."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(Path(fl_client.__file__).parents[1]),  # this very software
        "LANG": "C.UTF-8",
        "HOME": str(node.flower),
        "FLWR_HOME": str(node.flower),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


def command(node: NodeFolder, worker: Path) -> list[str]:
    """Return the command that starts the pinned SuperNode."""
    return [sys.executable, "-m", "fl_client.pinned_node", str(node.folder), str(worker)]


class Node:
    """A running SuperNode. It ends when this process does, however that happens."""

    def __init__(self, node: NodeFolder, worker: Path) -> None:
        """Start it.

        Raises:
            OSError: The log cannot be written, or the program not started.
        """
        node.flower.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _fresh_log(node.log) as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                [*command(node, worker), "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(node),
                cwd=node.flower,
                start_new_session=True,  # Ctrl-C is for us: we let it finish
            )

    @property
    def pid(self) -> int:
        """Its process, and the number of its process group."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Has it ended by itself?"""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it, and all that it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(timeout=STOP_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _fresh_log(path: Path) -> IO[bytes]:
    """Open a new log; the one before stays beside it."""
    if path.exists():
        path.replace(path.with_suffix(".log.before"))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(handle, "wb")
