"""Programs that come back when they end, as systemd starts its units anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

RESTART_S = 3.0
STOP_S = 60.0


class Unit:
    """A program with ``Restart=always``; with ``on_failure`` one that may end well, and then has.

    It is the leader of a process group, and what it says goes to one file.
    """

    def __init__(
        self, command: list[str], said: Path, *, on_failure: bool = False, cwd: Path | None = None
    ) -> None:
        self._command, self._cwd, self._on_failure = command, cwd, on_failure
        self._said = said
        self._is_over = threading.Event()
        self.has_ended_well = threading.Event()
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_up, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Its process now; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask_to_stop(self) -> None:
        """Let it end for good, without waiting until it has."""
        self._is_over.set()

    def stop(self) -> None:
        """End it for good."""
        self.ask_to_stop()
        self._thread.join()

    def _keep_up(self) -> None:
        while not self._is_over.is_set():
            with self._said.open("ab") as said:
                self._process = process = subprocess.Popen(
                    self._command, stdout=said, stderr=subprocess.STDOUT, env=dict(os.environ),
                    cwd=self._cwd, start_new_session=True,
                )  # fmt: skip
            self.starts += 1
            while process.poll() is None and not self._is_over.wait(0.05):
                pass
            if self._on_failure and process.poll() == 0:
                self.has_ended_well.set()
                return
            self._end(process)
            self._is_over.wait(RESTART_S)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End it, and what it left behind: systemd kills the whole of a unit."""
        if self._is_over.is_set() and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def python(module: str, *arguments: object) -> list[str]:
    """Return the command of one of our programs."""
    return [sys.executable, "-m", module, *map(str, arguments)]
