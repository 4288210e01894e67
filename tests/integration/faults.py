"""Kill programs of a real federation without warning, at points of chance, until it is through.

    python -m tests.integration.faults --rounds 10 --kills 20 --seed 1

A server with its SuperLink, ServerApp and proxy, and three sites with a worker and a SuperNode
each, all real, all started anew when they end. In the end the model must be that of a run that
nobody disturbed, with every round and every update in it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from consent.keys import SigningKey
from core_model.protocol.enrolment import Invitation, read_json
from core_model.protocol.messages import digest
from fl_client.config import load_site_config
from fl_client.diary import INTERRUPTED, Diary
from fl_client.node_folder import NodeFolder
from fl_server.config import FederationConfig, load_federation
from fl_server.coordinator import Coordinator
from fl_server.folder import ServerFolder
from fl_server.round_log import read_log
from fl_server.round_state import load_state
from fl_server.run_lock import holder
from simulations.loop import run_plain
from simulations.sites import SiteFolder, write_site
from tests.federation import write_faces
from tests.integration.server_folder import make_server, told
from tests.integration.units import Unit, python

SITES = {"site-a": (1, 2), "site-b": (2, 4), "site-c": (1, 4)}
EPOCHS = 240  # a few seconds
APPEAR_S, END_S = 600.0, 900.0
LATEST_S = {"worker": 12.0, "node": 12.0}  # after it appeared; rounds take about so long
LATEST_OF_SERVER_S = 4.0
Find = Callable[[], int | None]


@dataclass(frozen=True)
class Found:
    """What came of a run that was killed again and again."""

    kills: Counter[str]
    rounds: list[int]
    logged: list[tuple[str, int]]
    losses: int  # updates that are not in their round in the end
    begun: int  # trainings at all sites: as many as updates, and what a kill made them do again
    interrupted: int  # trainings that a worker was killed in
    is_undisturbed: bool  # the weights are those of a run that nobody disturbed, to the bit


class Federation:
    """A server and three sites in a folder, all their programs running."""

    def __init__(self, root: Path, num_rounds: int, stack: ExitStack) -> None:
        self.sites = write_three_sites(root / "far")
        nodes = {s: NodeFolder(load_site_config(f.config).node) for s, f in self.sites.items()}
        public = {s: node.make_key() for s, node in nodes.items()}
        self.folder = make_server(root / "server", self.sites, public, num_rounds)
        _train_longer(self.folder)
        self.config: FederationConfig = load_federation(self.folder.federation)
        self.server = Unit(
            python("fl_server.cli", "start", self.folder.root),
            self.folder.root / "said.txt",
            on_failure=True,
        )
        stack.callback(self.server.stop)
        self.workers: dict[str, Unit] = {}
        self.nodes: dict[str, Unit] = {}
        for site_id, folder in self.sites.items():
            nodes[site_id].join(read_json(folder.folder / "invitation.json", Invitation))
            socket = load_site_config(folder.config).socket
            run = python("fl_client.cli", "run", folder.config, "--without-node")
            self.workers[site_id] = Unit(run, folder.folder / "worker.txt")
            node = python("fl_client.cli", "node", nodes[site_id].folder, socket)
            self.nodes[site_id] = Unit(node, folder.folder / "node.txt")
            stack.callback(self.workers[site_id].stop)
            stack.callback(self.nodes[site_id].stop)

    @property
    def round(self) -> int:
        """The last finished one."""
        return load_state(self.config.output, self.config.run_id).round

    def target(self, name: str, chance: random.Random) -> Find:
        """Return how to find the process of a program; of one site's, by chance."""
        site_id = chance.choice(sorted(self.sites))
        return {
            "server": lambda: self.server.pid,
            "superlink": lambda: self._with_words(b"fl_server.superlink"),
            "proxy": lambda: self._with_words(b"\0-db\0"),  # not the one that checks the settings
            "rounds": self._rounds,
            "worker": lambda: self.workers[site_id].pid,
            "node": lambda: self.nodes[site_id].pid,
        }[name]

    def _with_words(self, words: bytes) -> int | None:
        """Return the process of the server that has these words in its command line."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if words in line and str(self.folder.run).encode() in line:
                return int(process.name)
        return None

    def _rounds(self) -> int | None:
        """Return the ServerApp's process; the server itself has the lock for a moment before it."""
        pid = holder(self.config.output / "run.lock")
        return None if pid == holder(self.folder.lock) else pid

    def said(self) -> str:
        """Return the end of what all programs said."""
        of_sites = [p for f in self.sites.values() for p in sorted(f.folder.glob("*.txt"))]
        return told(self.folder) + "".join(f"\n== {p}\n{p.read_text()[-2000:]}" for p in of_sites)


TARGETS = ("server", "superlink", "rounds", "proxy", "worker", "node")


def run_with_faults(root: Path, num_rounds: int, kills: Sequence[str], seed: int) -> Found:
    """Run a federation of three sites, and kill its programs on the way.

    Args:
        root: An empty folder.
        num_rounds: Of the run.
        kills: What is killed, in order; the last ones are spared if it is through before.
        seed: Of when, and of which site.
    """
    chance, killed = random.Random(seed), Counter[str]()
    with ExitStack() as stack:
        federation = Federation(root, num_rounds, stack)
        for number, name in enumerate(kills):
            # Spread over the run: a start that is killed at once finishes no round.
            first = number * num_rounds // len(kills)
            _wait_for(federation, lambda first=first: federation.round >= first)
            if not _kill(federation, name, chance):
                break
            killed[name] += 1
        assert federation.server.has_ended_well.wait(END_S), federation.said()
    return _look(root, federation, killed)


def _kill(federation: Federation, name: str, chance: random.Random) -> bool:
    """Kill a program some time after it appeared; return whether the run was still going on."""
    find = federation.target(name, chance)
    after = chance.uniform(0, LATEST_S.get(name, LATEST_OF_SERVER_S))
    if not _wait_for(federation, find):
        return False
    time.sleep(after)
    if not _wait_for(federation, find) or (pid := find()) is None:
        return False
    os.kill(pid, signal.SIGKILL)
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} round {federation.round + 1}: {name} killed\n")
    time.sleep(0.5)  # so that it is not found, dead, by the next
    return True


def _wait_for(federation: Federation, condition: Callable[[], object]) -> bool:
    """Wait until something is so; return False if the whole run was through before."""
    end = time.monotonic() + APPEAR_S
    while not condition():
        if federation.server.has_ended_well.is_set():
            return False
        assert time.monotonic() < end, federation.said()
        time.sleep(0.05)
    return not federation.server.has_ended_well.is_set()


def _look(root: Path, federation: Federation, killed: Counter[str]) -> Found:
    config = federation.config
    undisturbed = config.model_copy(update={"output": root / "plain"})
    plain = run_plain(undisturbed, write_three_sites(root / "near"))
    ended = Coordinator(config)
    folder: ServerFolder = federation.folder
    log = read_log(folder.round_log, SigningKey.load(folder.log_key).verifier)
    for summary in ended.summaries:
        if summary.refused:
            refused = {s: c.name for s, c in summary.refused.items()}
            sys.stderr.write(f"round {summary.round}: without {refused}\n")
    admitted = sum(len(s.admitted) for s in ended.summaries)
    diaries = [Diary(load_site_config(f.config).state) for f in federation.sites.values()]
    return Found(
        kills=killed,
        rounds=[s.round for s in ended.summaries],
        logged=[(e.run_id, e.round) for e in log.entries],
        losses=sum(s.rounds for s in config.stages) * len(SITES) - admitted,
        begun=sum(len(f.consent.state().started) for f in federation.sites.values()),
        interrupted=sum(e.outcome == INTERRUPTED for d in diaries for e in d.entries()),
        is_undisturbed=digest(ended.arrays) == digest(plain.arrays),
    )


def _train_longer(folder: ServerFolder) -> None:
    """Let a round be long enough at the sites that a kill by chance may fall into it."""
    text = folder.federation.read_text()
    assert "batch_size = 4" in text
    longer = f"batch_size = 4, epochs_per_round = {EPOCHS}"
    folder.federation.write_text(text.replace("batch_size = 4", longer, 1))


def write_three_sites(root: Path) -> Mapping[str, SiteFolder]:
    """Write the sites of one federation; the same faces each time."""
    return {
        site_id: write_site(
            root / site_id, site_id, [write_faces(root / site_id / "data", site_id, aus)],
            labelled_aus=aus, seed=0,
            caps={"allows_training_without_privacy": True, "max_epochs_per_round": EPOCHS},
        )
        for site_id, aus in SITES.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=TARGETS)
    options = parser.parse_args()
    began = time.monotonic()
    kills = random.Random(options.seed).choices(options.only, k=options.kills)
    with tempfile.TemporaryDirectory() as folder:
        found = run_with_faults(Path(folder), options.rounds, kills, options.seed)
    weights = "those" if found.is_undisturbed else "NOT those"
    sys.stdout.write(
        f"faults   {sum(found.kills.values())}: {dict(sorted(found.kills.items()))}\n"
        f"rounds   {len(found.rounds)} of {options.rounds}, logged {len(found.logged)}\n"
        f"losses   {found.losses} of {options.rounds * len(SITES)} updates\n"
        f"trained  {found.begun} times, {found.interrupted} of them cut off by a kill\n"
        f"weights  {weights} of an undisturbed run\n"
        f"seconds  {time.monotonic() - began:.0f}\n"
    )
    if found.losses or not found.is_undisturbed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
