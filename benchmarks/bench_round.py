"""Where the time of one fine-tuning round goes: plain calls, and through Flower's messages.

Two sites with generated noise as frames and the encoder ``tiny`` at 64 pixels. Training,
serialisation, transport and aggregation are timed apart; the ratio is Flower over plain.

    python benchmarks/bench_round.py [--deployment]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from core_model.config import FinetuneConfig, OptimiserConfig, encoder_config
from core_model.protocol.records import (
    decode_reply,
    decode_request,
    encode_request,
    encode_update,
)
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.grid import read_records, write_records
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
    parts = dict.fromkeys(("training", "serialisation", "aggregation"), 0.0)
    started = time.perf_counter()
    coordinator = Coordinator(config)
    for site_id, site in sites.items():
        request = coordinator.request(site_id)
        begun = time.perf_counter()
        request = decode_request(read_records(write_records(encode_request(request))))
        parts["serialisation"] += time.perf_counter() - begun
        begun = time.perf_counter()
        update = run_round(request, site)
        parts["training"] += time.perf_counter() - begun
        begun = time.perf_counter()
        update = decode_reply(read_records(write_records(encode_update(update))))
        parts["serialisation"] += time.perf_counter() - begun
        begun = time.perf_counter()
        coordinator.answer(site_id, update)
        parts["aggregation"] += time.perf_counter() - begun
    begun = time.perf_counter()
    coordinator.finish()
    parts["aggregation"] += time.perf_counter() - begun
    return {**parts, "in all": time.perf_counter() - started}


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
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plain(Path(folder) / "warm-up")
        parts = plain(Path(folder) / "plain")
        local = through_flower(Path(folder) / "local")
        for name, seconds in parts.items():
            print(f"plain calls, {name:15} {seconds:7.3f} s  {seconds / parts['in all']:6.1%}")
        print(f"through Flower, in process    {local:7.3f} s  ratio {local / parts['in all']:.2f}")
        if args.deployment:
            far = through_deployment(Path(folder) / "far")
            print(f"through SuperLink             {far:7.3f} s  ratio {far / parts['in all']:.2f}")


if __name__ == "__main__":
    main()
