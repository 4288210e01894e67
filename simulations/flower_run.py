"""Run a federation through Flower's own engines: a real SuperLink on loopback, or ray.

The same ServerApp and ClientApp as everywhere; the bundle that Flower ships to the nodes holds no
code, so both ends run the installed package. Insecure on purpose: loopback only, for tests and
measurements. A federation over a network is started by ``omote-server`` (issue 5).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from fl_client.config import load_site_config
from fl_client.socket_client import is_serving
from fl_server.config import FederationConfig
from fl_server.coordinator import Coordinator
from simulations.sites import SiteFolder
from simulations.toml_text import to_toml

PROJECT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 600.0
ENVIRONMENT = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


class FlowerRunError(Exception):
    """Flower's programs did not run the federation to its end."""


def run_deployment(
    config: FederationConfig, folders: Mapping[str, SiteFolder], home: Path
) -> Coordinator:
    """Run a federation over a SuperLink and one SuperNode for each site, all on loopback.

    Args:
        config: The federation.
        folders: Its sites.
        home: Folder for Flower's files; the logs of its programs are there too.

    Raises:
        FlowerRunError: It did not finish; names the log to look at.
    """
    home.mkdir(parents=True, exist_ok=True)
    federation = home / "federation.toml"
    federation.write_text(to_toml(config))
    port = _free_port()
    environment = {**os.environ, **ENVIRONMENT, "FLWR_HOME": str(home)}
    address = f"127.0.0.1:{port}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "{address}"\n'
        "insecure = true\n"
    )
    programs: dict[str, subprocess.Popen[bytes]] = {}
    try:
        link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port),
                "--disable-runtime-dependency-installation"]  # fmt: skip
        programs["superlink"] = _start(link, home / "superlink.log", environment)
        _wait_for_port(port, home / "superlink.log")
        for site_id, folder in folders.items():
            worker = [sys.executable, "-m", "fl_client.cli", "run", str(folder.config),
                      "--without-node"]  # fmt: skip
            log = home / f"worker-{site_id}.log"
            programs[f"worker-{site_id}"] = _start(worker, log, environment)
            node_home = home / f"node-{site_id}"
            node_home.mkdir(exist_ok=True)
            node = ["flower-supernode", "--insecure", "--superlink", address, "--host",
                    "127.0.0.1", "--port", str(_free_port()), "--node-config",
                    f'socket="{_wait_for_worker(folder, log)}"']  # fmt: skip
            own = {**environment, "FLWR_HOME": str(node_home)}
            programs[f"node-{site_id}"] = _start(node, home / f"node-{site_id}.log", own)
        run = ["flwr", "run", str(_project(home)), "loopback", "--stream", "--run-config",
               f'federation="{federation}"']  # fmt: skip
        programs["run"] = _start(run, home / "run.log", environment)
        return _wait_for_rounds(config, home, programs)
    finally:
        for program in reversed(programs.values()):
            _stop(program)


def _project(home: Path) -> Path:
    """Return a folder with the app's pyproject.toml and README.md alone: all that is bundled."""
    folder = home / "app"
    folder.mkdir(exist_ok=True)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


def _start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / command[0]  # an absolute path stays as it is
    path = f"{program.parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("wb") as f:
        return subprocess.Popen(  # noqa: S603 - our own arguments
            [str(program), *command[1:]],
            stdout=f,
            stderr=subprocess.STDOUT,
            env={**environment, "PATH": path},
            start_new_session=True,
        )


def _stop(program: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started."""
    try:
        os.killpg(program.pid, 15)
        program.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, 9)
    except ProcessLookupError:
        pass


def _wait_for_rounds(
    config: FederationConfig, home: Path, programs: Mapping[str, subprocess.Popen[bytes]]
) -> Coordinator:
    """Wait until all rounds are done, or a program ends before they are."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        # Looked at first: what ends now may have finished the last round just before. A run that
        # failed ends ``flwr run`` too, with code 0.
        ended = [name for name, program in programs.items() if program.poll() is not None]
        if (config.output / "run.json").exists():
            coordinator = Coordinator(config)
            if coordinator.is_done:
                return coordinator
        if ended:
            logs = ", ".join(str(home / f"{name}.log") for name in ended)
            raise FlowerRunError(f"ended before the last round: see {logs}")
        time.sleep(1.0)
    raise FlowerRunError(f"not finished after {TIMEOUT_S:.0f} s; see the logs in {home}")


def _wait_for_port(port: int, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    raise FlowerRunError(f"the SuperLink did not start; see {log}")


def _wait_for_worker(folder: SiteFolder, log: Path) -> Path:
    """Return the socket of a site's worker, once it serves."""
    worker = load_site_config(folder.config).socket
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if is_serving(worker):
            return worker
        time.sleep(0.3)
    raise FlowerRunError(f"the worker did not start; see {log}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
