"""Run all arms of a scenario over the processors, each in a process of its own, and sum up.

Whatever is finished is kept: an interrupted experiment goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from core_model.checkpoint import load_checkpoint
from fl_server.round_state import RunState, load_state
from simulations.arms import (
    POOLED,
    PRIVATE,
    PUBLIC,
    Arm,
    federation_of,
    last_checkpoint,
    run_arm,
)
from simulations.data import People, make_people
from simulations.measure import macro_f1, measure_arm, measure_mae
from simulations.private_arm import privacy_result
from simulations.results import ArmResult, PrivacyResult, Results, RoundResult, WireResult
from simulations.scenario import Scenario

PRETRAINING = "federated_pretraining"
WITHOUT, WITH = "federated_without_iat", "federated_iat"
SHARED_DECODER = "pretraining_shared_decoder"
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is finished, and how much there is."""


def arms_of(scenario: Scenario) -> list[Arm]:
    """Return the arms, those that others start from first."""
    sites = tuple(s.site_id for s in scenario.sites)
    scale = scenario.finetuning.reversal_scale
    federated = [(WITHOUT, 0.0), (WITH, scale)]
    federated += [(f"federated_iat_{s:g}", s) for s in scenario.curve_scales]
    private = [
        Arm(PUBLIC, sites, reversal_scale=scale, is_public=True),
        Arm(PRIVATE, sites, ("finetuning",), start=PUBLIC, is_private=True),
    ]
    return [
        Arm(PRETRAINING, sites, purposes=("pretraining",)),
        *(private if scenario.private else []),
        Arm(POOLED, sites, reversal_scale=scale, is_pooled=True),
        *(
            Arm(name, sites, ("finetuning",), s, start=PRETRAINING, has_incidents=True)
            for name, s in federated
        ),
        *(Arm(f"alone_{site}", (site,), reversal_scale=scale) for site in sites),
        Arm(SHARED_DECODER, sites, purposes=("pretraining",), share_decoder=True),
    ]


def run_experiment(
    name: str, scenario: Scenario, out: Path, cache: Path, workers: int, progress: Progress
) -> Results:
    """Run an experiment and return what it found; the same is in ``out/results.json``."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    people = make_people(
        scenario, out / "people", cache, workers, lambda n, of: progress("faces", n, of)
    )
    results = _run_arms(scenario, people, out / "arms", workers, progress)
    found = _sum_up(name, scenario, results, out / "arms", time.monotonic() - started)
    found.save(out / "results.json")
    return found


def job(arm: Arm, scenario: Scenario, people: People, root: Path) -> ArmResult | None:
    """Train and measure one arm. Runs in a process of its own."""
    cv2.setNumThreads(1)
    run_arm(arm, scenario, people, root)
    if "finetuning" in arm.purposes:
        return measure_arm(arm, scenario, people, root)
    loss = measure_mae(arm, scenario, people, root)
    (root / arm.name / "mae-loss.json").write_text(json.dumps(loss))
    return None


def _run_arms(
    scenario: Scenario, people: People, root: Path, workers: int, progress: Progress
) -> dict[str, ArmResult]:
    waiting, results = arms_of(scenario), {}
    total = sum(federation_of(arm, scenario, root)[0] for arm in waiting)
    everything = list(waiting)
    running: dict[Future[ArmResult | None], Arm] = {}
    finished: set[str] = set()
    # Ctrl-C ends the workers without a word; what they have finished is on disk.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)
    ) as pool:
        while waiting or running:
            for arm in [a for a in waiting if a.start is None or a.start in finished]:
                if len(running) < workers:
                    waiting.remove(arm)
                    running[pool.submit(job, arm, scenario, people, root)] = arm
            done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                arm = running.pop(future)
                finished.add(arm.name)
                if (result := future.result()) is not None:
                    results[arm.name] = result
            rounds = sum(_rounds_done(arm, scenario, root) for arm in everything)
            progress("rounds", rounds, total)
    return results


def _rounds_done(arm: Arm, scenario: Scenario, root: Path) -> int:
    _, output = federation_of(arm, scenario, root)
    return len(list(output.glob("round-*.safetensors.json")))


def _state(root: Path, arm: str, scenario: Scenario) -> RunState:
    return load_state(root / arm / "output", f"{arm}-{scenario.seed}")


def _sum_up(
    name: str, scenario: Scenario, results: dict[str, ArmResult], root: Path, seconds: float
) -> Results:
    wire, privacy = _wire(scenario, root), _privacy(scenario, root)
    curve = {a.name: a.reversal_scale for a in arms_of(scenario) if a.start == PRETRAINING}
    usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Results(
        scenario=name,
        seed=scenario.seed,
        action_units=list(scenario.action_units),
        arms=dict(sorted(results.items())),
        curve=dict(sorted(curve.items(), key=lambda item: item[1])),
        best_single_site=_best_single_site(scenario, results, root),
        rounds=[
            RoundResult(
                round=s.round,
                purpose=s.purpose,
                admitted=list(s.admitted),
                refused={site: code.name for site, code in s.refused.items()},
                seconds=round(s.seconds, 2),
            )
            for s in _state(root, WITH, scenario).summaries
        ],
        wire=wire,
        mae_loss=_mae_loss(root),
        epsilon=f"{privacy.epsilon:.2f}" if privacy else "not private in this run",
        privacy=privacy,
        bytes_sent_per_site_round=wire.bytes_sent_per_site_round["finetuning"],
        seconds=round(seconds, 1),
        peak_rss_bytes=max(u.ru_maxrss for u in usage) * 1024,
        machine=f"{platform.machine()}, {_processors()} processors, {platform.system()}",
    )


def _best_single_site(
    scenario: Scenario, results: dict[str, ArmResult], root: Path
) -> dict[str, float]:
    """Return how the best site alone compares with the federation, on the AUs that it labels."""
    alone = {s.site_id: s for s in scenario.sites if f"alone_{s.site_id}" in results}
    own = {
        site_id: macro_f1(root / f"alone_{site_id}" / "result.json", site.labelled_aus)
        for site_id, site in alone.items()
    }
    best = max(own, key=lambda s: results[f"alone_{s}"].macro_f1_unseen_people)
    federated = macro_f1(root / WITH / "result.json", alone[best].labelled_aus)
    return {
        "all_aus_alone": results[f"alone_{best}"].macro_f1_unseen_people,
        "own_aus_alone": own[best],
        "own_aus_federated": federated,
    }


def _wire(scenario: Scenario, root: Path) -> WireResult:
    """Return what crossed in the federated arms, and what stayed at the first site."""
    arrays, _ = load_checkpoint(last_checkpoint(root, WITH))
    sent: dict[str, float] = {}
    for purpose, arm in (("pretraining", PRETRAINING), ("finetuning", WITH)):
        lines = (root / arm / "crossings.txt").read_text().splitlines()
        sizes = [int(n) for kind, n, names in (x.split("\t") for x in lines)
                 if kind == "train" and names]  # fmt: skip
        sent[purpose] = float(np.mean(sizes))
    stayed: dict[str, int] = {}
    site = scenario.sites[0].site_id
    for arm in (PRETRAINING, WITH):
        for path in sorted((root / arm / "sites" / site / "state").rglob("*.safetensors")):
            stayed |= {n: a.nbytes for n, a in load_file(path).items()}
    shared = {n: a.nbytes for n, a in arrays.items()}
    return WireResult(shared=shared, stayed=stayed, bytes_sent_per_site_round=sent)


def _privacy(scenario: Scenario, root: Path) -> PrivacyResult | None:
    """Return what the private arm spent, from the ledgers of its sites."""
    if scenario.private is None:
        return None
    configs = [root / PRIVATE / "sites" / s.site_id / "site.toml" for s in scenario.sites]
    return privacy_result(scenario.private.plan(), configs)


def _mae_loss(root: Path) -> dict[str, float]:
    """Return the MAE loss on unseen people, with the decoder kept local and shared."""
    arms = {"local": PRETRAINING, "shared": SHARED_DECODER}
    paths = {kind: root / arm / "mae-loss.json" for kind, arm in arms.items()}
    return {kind: json.loads(p.read_text()) for kind, p in paths.items() if p.exists()}


def _processors() -> int:
    return len(os.sched_getaffinity(0))
