"""Where the time of one fine-tuning round goes: plain calls, and through Flower's messages.

Two sites with generated noise as frames and the encoder ``tiny`` at 64 pixels. Medians of some
rounds. The ratio is Flower over plain calls, which serialise nothing; how long it takes to write
and read all messages once is measured apart. With so few frames a round is short: the seconds that
Flower adds mean more than the ratio.

    python benchmarks/bench_round.py [--repeats N] [--deployment]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from core_model.config import FinetuneConfig, OptimiserConfig, encoder_config
from core_model.protocol.messages import RoundRequest, SiteUpdate
from core_model.protocol.records import (
    decode_reply,
    decode_request,
    encode_request,
    encode_update,
    read_records,
    write_records,
)
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.loop import run_local, write_initial
from tests.federation import AUS, write_federation, write_sites

FINETUNING = FinetuneConfig(
    optimiser=OptimiserConfig(learning_rate=1e-4, batch_size=4), reversal_scale=0.5
)


def setting(root: Path):
    folders = write_sites(root)
    config = write_federation(
        root, folders, stages=[Stage(rounds=1, training=FINETUNING).model_dump()]
    )
    write_initial(config.initial, encoder_config("tiny", 64), AUS, seed=0)
    return config, folders


def plain(root: Path) -> dict[str, float]:
    config, folders = setting(root)
    sites = {s: open_site(f.config) for s, f in folders.items()}
    parts = dict.fromkeys(("training", "aggregation", "serialisation"), 0.0)
    coordinator = Coordinator(config)
    for site_id, site in sites.items():
        request = coordinator.request(site_id)
        update, seconds = timed(run_round, request, site)
        parts["training"] += seconds
        parts["serialisation"] += timed(there_and_back, request, update)[1]
        parts["aggregation"] += timed(coordinator.answer, site_id, update)[1]
    parts["aggregation"] += timed(coordinator.finish)[1]
    return parts


def there_and_back(request: RoundRequest, update: SiteUpdate) -> None:
    decode_request(read_records(write_records(encode_request(request))))
    decode_reply(read_records(write_records(encode_update(update))))


def timed(call, *arguments):
    started = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - started


def through_flower(root: Path) -> float:
    config, folders = setting(root)
    started = time.perf_counter()
    run_local(config, folders)
    return time.perf_counter() - started


def through_deployment(root: Path) -> float:
    from simulations.flower_run import run_deployment

    config, folders = setting(root)
    started = time.perf_counter()
    run_deployment(config, folders, root / "link")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployment", action="store_true", help="a SuperLink and SuperNodes too")
    parser.add_argument("--repeats", type=int, default=7, help="rounds to take the median of")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plain(Path(folder) / "warm-up")
        rounds, local = [], []
        for n in range(args.repeats):  # in turn, so that a busy machine hurts both alike
            rounds.append(plain(Path(folder) / f"plain-{n}"))
            local.append(through_flower(Path(folder) / f"local-{n}"))
        for name in rounds[0]:
            print(f"{name:30} {median(r[name] for r in rounds):8.3f} s")
        base = median(r["training"] + r["aggregation"] for r in rounds)
        report("plain calls", base, base)
        report("through Flower, in process", median(local), base)
        if args.deployment:
            far = through_deployment(Path(folder) / "far")
            report("through SuperLink, with start", far, base)


def report(name: str, seconds: float, base: float) -> None:
    print(f"{name:30} {seconds:8.3f} s  ratio {seconds / base:6.2f}  added {seconds - base:7.3f} s")


if __name__ == "__main__":
    main()
