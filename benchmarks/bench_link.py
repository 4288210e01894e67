"""A round over the real link: time, bytes and memory of each program, in float32 and float16.

A server as ``omote-server start`` runs it (HAProxy with TLS, SuperLink, ServerApp) and three sites
as ``omote-site run`` does (worker and SuperNode), all on this machine, so that the line itself
costs nothing. Faces are a few frames of noise at 64 pixels and training is short: what is measured
is how a model of this size travels and is averaged. For comparison the same rounds as plain
function calls in one process, without any program, message or signature of the link.

    python benchmarks/bench_link.py [--encoder base] [--sites 3] [--rounds 3]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

from core_model.config import Size, encoder_config
from core_model.protocol.enrolment import Invitation, read_json
from fl_client.config import load_site_config
from fl_client.node_folder import NodeFolder
from fl_client.socket_client import is_serving
from fl_server.config import FederationConfig, load_federation
from fl_server.folder import ServerFolder
from fl_server.round_state import RoundSummary, load_state
from simulations.loop import run_plain, write_initial
from simulations.sites import SiteFolder, write_site
from tests.federation import AUS, write_faces
from tests.integration.server_folder import make_server, started, told, wait_for_round

PROGRAMS = {  # words in the command line of each program
    "server (start)": "fl_server.cli start",
    "proxy": "haproxy",
    "SuperLink": "fl_server.superlink",
    "SuperLink's starter": "flower-superexec --insecure --plugin-type serverapp",
    "ServerApp": "flwr-serverapp",
    "site: worker": "fl_client.cli run",
    "site: SuperNode": "fl_client.pinned_node",
    "site: node's starter": "--plugin-type clientapp",
    "site: ClientApp": "flwr-clientapp",
}
LOOK_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="base", choices=get_args(Size))
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wires", nargs="+", default=["float32", "float16"])
    args = parser.parse_args()
    found: dict[str, float] = {}
    for wire in args.wires:
        with tempfile.TemporaryDirectory() as place:
            found[wire] = measure(Path(place), args.encoder, args.sites, args.rounds, wire)
    if len(found) == 2:
        full, half = found.values()
        print(f"a round in float16 takes {half / full:.2f} of one in float32")


def measure(root: Path, encoder: str, num_sites: int, rounds: int, wire: str) -> float:
    """Run and print; return seconds of a round after the first."""
    sites = {name: _site(root / name, name) for name in _names(num_sites)}
    nodes = {s: NodeFolder(load_site_config(f.config).node) for s, f in sites.items()}
    keys = {site_id: node.make_key() for site_id, node in nodes.items()}
    server = make_server(root / "server", sites, keys, rounds)
    text = server.federation.read_text()
    server.federation.write_text(text.replace("seed = 0 ", f'wire = "{wire}"\nseed = 0 ', 1))
    config = load_federation(server.federation)
    write_initial(config.initial, encoder_config(encoder, 64), AUS, seed=7)
    for site_id, node in nodes.items():
        node.join(read_json(sites[site_id].folder / "invitation.json", Invitation))
    with ProcessPoolExecutor(1, get_context("spawn")) as other:  # its memory is not ours
        plain = other.submit(_plain, config, root, num_sites).result() / rounds
    with Memory() as memory, ExitStack() as stack:
        for folder in sites.values():
            stack.enter_context(_running(folder))
        process = stack.enter_context(started(server))
        ends = list(_ends(server, rounds, process))
        assert process.wait(timeout=300) == 0, told(server)
    summaries = load_state(config.output, config.run_id).summaries
    assert all(len(s.admitted) == num_sites for s in summaries), told(server)
    round_s = statistics.median(b - a for a, b in itertools.pairwise(ends))
    _report(encoder, wire, config.initial.stat().st_size // 4, summaries, round_s, plain, memory)
    return round_s


def _report(
    encoder: str, wire: str, num_weights: int, summaries: tuple[RoundSummary, ...],
    round_s: float, plain: float, memory: Memory,
) -> None:  # fmt: skip
    print(
        f"{encoder}, {num_weights / 1e6:.1f} M weights, {wire}, {len(summaries[-1].admitted)} sites"
    )
    received = statistics.median(summaries[-1].bytes_received.values())
    print(f"  from a site in a round  {received / 1e6:9.1f} MB")
    print(f"  a round over the link   {round_s:9.1f} s")
    print(f"  as plain calls          {plain:9.1f} s, ratio {round_s / plain:.2f}")
    print(f"  all programs together   {memory.most_at_once / 2**20:9,.0f} MiB at most")
    for name, most in memory.peaks.items():
        print(f"    {name:22}{most / 2**20:9,.0f} MiB")


def _names(num_sites: int) -> list[str]:
    return [f"site-{k}" for k in range(1, num_sites + 1)]


def _site(folder: Path, site_id: str) -> SiteFolder:
    listing = write_faces(folder / "data", site_id, AUS)
    return write_site(
        folder, site_id, [listing], labelled_aus=AUS, seed=0,
        caps={"allows_training_without_privacy": True},
    )  # fmt: skip


def _plain(config: FederationConfig, root: Path, num_sites: int) -> float:
    """Return seconds of all rounds as calls, at sites of the same data that saw no round yet."""
    sites = {name: _site(root / "plain-sites" / name, name) for name in _names(num_sites)}
    began = time.perf_counter()
    run_plain(config.model_copy(update={"output": root / "plain"}), sites)
    return time.perf_counter() - began


@contextmanager
def _running(folder: SiteFolder) -> Iterator[None]:
    """Run a site as its operator does."""
    log = folder.folder / "said.txt"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "fl_client.cli", "run", str(folder.config)],
            stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        socket = load_site_config(folder.config).socket
        while not is_serving(socket):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=120)


def _ends(server: ServerFolder, rounds: int, process: subprocess.Popen[bytes]) -> Iterator[float]:
    for number in range(1, rounds + 1):
        wait_for_round(server, number, process)
        yield time.perf_counter()


class Memory:
    """Looks at the programs until it is left: the most that each kind held, in bytes."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}  # of the largest process of each kind
        self.most_at_once = 0  # of all, shared pages counted once for each that maps them
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_S):
            total = 0
            for name, peak, now in _programs():
                total += now
                self.peaks[name] = max(self.peaks.get(name, 0), peak)
            self.most_at_once = max(self.most_at_once, total)


def _programs() -> Iterator[tuple[str, int, int]]:
    """Yield each program that was started here: its kind, its peak and what it holds, in bytes."""
    found: dict[int, tuple[int, str, int, int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            status = (process / "status").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        fields = dict(row.split(":", 1) for row in status.splitlines() if ":" in row)
        if "VmHWM" in fields:
            peak, now = (1024 * int(fields[key].split()[0]) for key in ("VmHWM", "VmRSS"))
            found[int(process.name)] = (int(fields["PPid"]), line, peak, now)
    for number, (_, line, peak, now) in found.items():
        above = number
        while above in found and above != os.getpid():
            above = found[above][0]
        kind = next((name for name, words in PROGRAMS.items() if words in line), None)
        if kind is not None and above == os.getpid():
            yield kind, peak, now


if __name__ == "__main__":
    main()
