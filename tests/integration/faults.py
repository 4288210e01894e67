"""Kill programs of a real server without warning, at points of chance, until it is through.

    python -m tests.integration.faults --rounds 10 --kills 20 --seed 1

The sites are real in all but Flower's SuperNode; they run on while the server dies and comes back.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from consent.keys import SigningKey
from core_model.protocol.messages import digest
from core_model.protocol.records import decode_request, encode_site_id, encode_update
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from fl_server.folder import ServerFolder
from fl_server.round_log import read_log
from fl_server.run_lock import holder
from simulations.loop import run_plain
from simulations.sites import SiteFolder
from tests.federation import write_sites
from tests.integration.rogue_node import RogueNode
from tests.integration.server_folder import make_server, node_key, started, told, wait_for_round

APPEAR_S, LATEST_S, END_S = 240.0, 4.0, 600.0
Find = Callable[[ServerFolder], int | None]


@dataclass(frozen=True)
class Found:
    """What came of a run that was killed again and again."""

    kills: Counter[str]
    rounds: list[int]
    logged: list[tuple[str, int]]
    losses: int  # rounds, or updates of a round, that are not there in the end
    is_undisturbed: bool  # the weights are those of a run that nobody disturbed, to the bit


def _with_words(words: bytes) -> Find:
    """Return how to find the process of a server that has these words in its command line."""

    def find(server: ServerFolder) -> int | None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if words in line and str(server.run).encode() in line:
                return int(process.name)
        return None

    return find


def _rounds(server: ServerFolder) -> int | None:
    """Return the ServerApp's process; the server itself has the lock for a moment before it."""
    pid = holder(load_federation(server.federation).output / "run.lock")
    return None if pid == holder(server.lock) else pid


TARGETS: dict[str, Find] = {
    "server": lambda server: holder(server.lock),
    "superlink": _with_words(b"fl_server.superlink"),
    "rounds": _rounds,
    "proxy": _with_words(b"\0-db\0"),  # not the one that checks the settings,
}


def run_with_faults(root: Path, num_rounds: int, num_kills: int, seed: int) -> Found:
    """Run a federation of two sites, and kill its programs on the way.

    Args:
        root: An empty folder.
        num_rounds: Of the run.
        num_kills: At most so many; fewer if it is through before.
        seed: Of what is killed, and when.
    """
    chance, kills = random.Random(seed), Counter[str]()
    sites = write_sites(root / "far")
    keys = {site_id: node_key() for site_id in sites}
    public = {site_id: pair[1] for site_id, pair in keys.items()}
    server = make_server(root / "server", sites, public, num_rounds)
    config = load_federation(server.federation)
    with ExitStack() as stack:
        for site_id, folder in sites.items():
            reply = _reply_of(folder)
            node = RogueNode(config.link.address, server.ca, keys[site_id][0], reply)
            stack.callback(node.stop)
        while sum(kills.values()) < num_kills:
            name = chance.choice(list(TARGETS))
            # Spread over the run: a start that is killed at once finishes no round.
            finished = sum(kills.values()) * num_rounds // num_kills
            with started(server) as process:
                wait_for_round(server, finished, process)
                if not _kill(server, process, name, chance.uniform(0, LATEST_S)):
                    break
            kills[name] += 1
        with started(server) as process:
            assert process.wait(timeout=END_S) == 0, told(server)
    near = write_sites(root / "near")
    plain = run_plain(config.model_copy(update={"output": root / "plain"}), near)
    ended = Coordinator(config)
    log = read_log(server.round_log, SigningKey.load(server.log_key).verifier)
    admitted = sum(len(s.admitted) for s in ended.summaries)
    return Found(
        kills=kills,
        rounds=[s.round for s in ended.summaries],
        logged=[(e.run_id, e.round) for e in log.entries],
        losses=num_rounds * len(sites) - admitted,
        is_undisturbed=digest(ended.arrays) == digest(plain.arrays),
    )


def _kill(server: ServerFolder, process: subprocess.Popen[bytes], name: str, after: float) -> bool:
    """Kill a program some time after it appeared; return whether it was still there."""
    if not _appeared(server, process, name):
        return False
    time.sleep(after)
    if (pid := _appeared(server, process, name)) is None:
        return False
    os.kill(pid, signal.SIGKILL)
    # A server whose last round was finished just before may still end well.
    process.wait(timeout=END_S)
    return True


def _appeared(server: ServerFolder, process: subprocess.Popen[bytes], name: str) -> int | None:
    """Wait for a program; return its process, or None if the whole run was through before."""
    end = time.monotonic() + APPEAR_S
    while not (pid := TARGETS[name](server)):
        if process.poll() is not None:
            assert process.returncode == 0, told(server)
            return None
        assert time.monotonic() < end, told(server)
        time.sleep(0.05)
    return pid


def _reply_of(folder: SiteFolder) -> Callable:
    site = open_site(folder.config)

    def reply(message):
        if message.metadata.message_type.startswith("query"):
            return encode_site_id(site.site_id)
        return encode_update(run_round(decode_request(message.content), site))

    return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run_with_faults(Path(folder), options.rounds, options.kills, options.seed)
    weights = "those" if found.is_undisturbed else "NOT those"
    sys.stdout.write(
        f"faults   {sum(found.kills.values())}: {dict(sorted(found.kills.items()))}\n"
        f"rounds   {len(found.rounds)} of {options.rounds}, logged {len(found.logged)}\n"
        f"losses   {found.losses}\n"
        f"weights  {weights} of an undisturbed run\n"
        f"seconds  {time.monotonic() - began:.0f}\n"
    )
    if found.losses or not found.is_undisturbed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
