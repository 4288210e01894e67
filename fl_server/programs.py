"""Start the programs that a server consists of, and end them with everything that they started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import fl_server
from fl_server.errors import StartError

STOP_S = 10.0
_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded before any fork


def environment(home: Path) -> dict[str, str]:
    """Return all variables that Flower's programs get; none is inherited."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(Path(fl_server.__file__).parents[1]),  # this very software
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


class Program:
    """A running program, in a process group of its own. It does not outlive this process."""

    def __init__(
        self, name: str, command: list[str], log: Path, env: dict[str, str], told: str | None = None
    ) -> None:
        """Start it; what it says goes to ``log``, which begins anew.

        A program of ours that is ``told`` something, a line on its standard input, ends by itself
        when that closes. Then nothing runs between fork and exec, so that threads may be there.

        Raises:
            StartError: It cannot be started.
        """
        self.name, self.log = name, log
        must_be_ended = told is None and sys.platform == "linux"
        if log.exists():
            log.replace(log.with_suffix(".log.before"))
        try:
            with _private(log) as f:
                self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                    command,
                    stdin=subprocess.DEVNULL if told is None else subprocess.PIPE,
                    stdout=f,
                    stderr=subprocess.STDOUT,
                    env=env,
                    start_new_session=True,  # Ctrl-C is for us: we end them in order
                    preexec_fn=_end_with_parent if must_be_ended else None,
                )
        except OSError as e:
            raise StartError(f"{name} cannot be started: {e}") from e
        if told is not None:
            self._tell(told)

    @property
    def pid(self) -> int:
        """Its process, and the number of its process group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and what it started in its group."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(timeout=STOP_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once; its log says why
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()


def superlink_command(port: int, tls: tuple[Path, Path, Path] | None, database: Path) -> list[str]:
    """Return the command of the SuperLink.

    Args:
        port: On loopback.
        tls: CA, certificate and key; None: in clear and without keys of SuperNodes.
        database: File of who is registered, and which runs there were.
    """
    command = [sys.executable, "-m", "fl_server.superlink", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--database", str(database)]
    command += ["--disable-runtime-dependency-installation"]
    if tls is None:
        return [*command, "--insecure"]
    names = ("--ssl-ca-certfile", "--ssl-certfile", "--ssl-keyfile")
    files = [part for name, path in zip(names, tls, strict=True) for part in (name, str(path))]
    return [*command, *files, "--enable-supernode-auth"]


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _end_with_parent() -> None:
    _LIBC.prctl(_SET_PDEATHSIG, signal.SIGTERM)
