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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from consent.keys import SigningKey
from core_model.protocol.messages import digest
from fl_client.config import load_site_config
from fl_client.diary import INTERRUPTED, Diary
from fl_server.coordinator import Coordinator
from fl_server.round_log import read_log
from fl_server.round_state import load_state
from simulations.loop import run_plain
from tests.integration.live_federation import SITES, Federation, write_three_sites
from tests.integration.spending import Spending, spending_of

TARGETS = ("server", "superlink", "rounds", "proxy", "worker", "node")
APPEAR_S, END_S = 600.0, 900.0
MORE_TARGETS = ("training",)  # a worker, but surely in a round
LATEST_S = {"worker": 12.0, "node": 12.0, "training": 1.0}  # after it appeared; a round takes 12
LATEST_OF_SERVER_S = 4.0


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
    spending: Spending | None  # of a private run, whose weights have noise in them


def run_with_faults(
    root: Path, num_rounds: int, kills: Sequence[str], seed: int, *, is_private: bool = False
) -> Found:
    """Run a federation of three sites, and kill its programs on the way.

    Args:
        root: An empty folder.
        num_rounds: Of the run.
        kills: What is killed, in order; the last ones are spared if it is through before.
        seed: Of when, and of which site.
        is_private: Train under noise, and charge it.
    """
    chance, killed = random.Random(seed), Counter[str]()
    with ExitStack() as stack:
        federation = Federation(root, num_rounds, stack, is_private=is_private)
        for number, name in enumerate(kills):
            # Spread over the run: a start that is killed at once finishes no round.
            first = number * num_rounds // len(kills)
            _wait_for(federation, lambda first=first: federation.round >= first)
            if not _kill(federation, name, chance):
                break
            killed[name] += 1
        assert federation.server.has_ended_well.wait(END_S), federation.said()
    return _look(root, federation, killed, is_private=is_private)


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


def _look(root: Path, federation: Federation, killed: Counter[str], *, is_private: bool) -> Found:
    config, folder = federation.config, federation.folder
    ended = Coordinator(config)
    for summary in ended.summaries:
        if summary.refused:
            refused = {s: c.name for s, c in summary.refused.items()}
            sys.stderr.write(f"round {summary.round}: without {refused}\n")
    log = read_log(folder.round_log, SigningKey.load(folder.log_key).verifier)
    admitted = sum(len(s.admitted) for s in ended.summaries)
    diaries = [Diary(load_site_config(f.config).state) for f in federation.sites.values()]
    state = load_state(config.output, config.run_id)
    return Found(
        kills=killed,
        rounds=[s.round for s in ended.summaries],
        logged=[(e.run_id, e.round) for e in log.entries],
        losses=sum(s.rounds for s in config.stages) * len(SITES) - admitted,
        begun=sum(len(f.consent.state().started) for f in federation.sites.values()),
        interrupted=sum(e.outcome == INTERRUPTED for d in diaries for e in d.entries()),
        is_undisturbed=not is_private and digest(ended.arrays) == _undisturbed(root, federation),
        spending=spending_of(federation.sites, state) if is_private else None,
    )


def _undisturbed(root: Path, federation: Federation) -> str:
    """Return the digest of the model of the same run as plain calls."""
    config = federation.config.model_copy(update={"output": root / "plain"})
    return digest(run_plain(config, write_three_sites(root / "near")).arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=TARGETS + MORE_TARGETS, default=TARGETS)
    parser.add_argument("--private", action="store_true", help="Train under noise.")
    options = parser.parse_args()
    began = time.monotonic()
    kills = random.Random(options.seed).choices(options.only, k=options.kills)
    with tempfile.TemporaryDirectory() as folder:
        found = run_with_faults(
            Path(folder), options.rounds, kills, options.seed, is_private=options.private
        )
    sys.stdout.write(
        f"faults   {sum(found.kills.values())}: {dict(sorted(found.kills.items()))}\n"
        f"rounds   {len(found.rounds)} of {options.rounds}, logged {len(found.logged)}\n"
        f"losses   {found.losses} of {options.rounds * len(SITES)} updates\n"
        f"trained  {found.begun} times, {found.interrupted} of them cut off by a kill\n"
        f"{_told_of_model(found)}\n"
        f"seconds  {time.monotonic() - began:.0f}\n"
    )
    if found.losses or not (found.spending or found.is_undisturbed):
        raise SystemExit(1)


def _told_of_model(found: Found) -> str:
    if (spent := found.spending) is None:
        which = "those" if found.is_undisturbed else "NOT those"
        return f"weights  {which} of an undisturbed run"
    told = "all" if spent.is_stated else "NOT all"
    return (
        f"steps    {spent.charged} charged: {spent.admitted} of admitted updates, "
        f"{spent.signed - spent.admitted} of others that were signed, {spent.cut_off} cut off\n"
        f"epsilon  {told} of it told to the server"
    )


if __name__ == "__main__":
    main()
