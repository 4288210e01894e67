"""How long the server takes to average updates, and how much memory that needs.

For 10 sites and models of 22 M and 86 M weights (shaped as ViT-S and ViT-B), each in a process of
its own: our streaming mean against Flower's ``aggregate_arrayrecords``, both against one pass over
the same bytes. Memory is in models: how many times the model's size beyond the process before.

    python benchmarks/bench_aggregate.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from core_model.schema import ParameterSchema, ParameterSpec, Role

NUM_SITES = 10
SIZES = {"22 M": (384, 12), "86 M": (768, 12)}


def schema_of(dim: int, depth: int) -> ParameterSchema:
    """Return weights shaped as those of a ViT with a head of 17 AUs."""
    shapes = {"patches": (dim, 768)}
    for k in range(depth):
        shapes |= {f"{k}.qkv": (3 * dim, dim), f"{k}.proj": (dim, dim)}
        shapes |= {f"{k}.fc1": (4 * dim, dim), f"{k}.fc2": (dim, 4 * dim), f"{k}.norm": (dim,)}
    parameters = [ParameterSpec(name=f"encoder.{n}", shape=s, role=Role.ENCODER)
                  for n, s in shapes.items()]  # fmt: skip
    head = ParameterSpec(name="au_head.weight", shape=(17, dim), role=Role.AU_HEAD)
    return ParameterSchema(parameters=(*parameters, head))


def make_update(schema: ParameterSchema, seed: int) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    return {p.name: chance.random(p.shape, dtype=np.float32) for p in schema.parameters}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_pass(schema: ParameterSchema) -> float:
    """Seconds to read and write every weight of all sites once."""
    update = make_update(schema, 0)
    started = time.perf_counter()
    for _ in range(NUM_SITES):
        for array in update.values():
            np.negative(array, out=array)
    return time.perf_counter() - started


def ours(schema: ParameterSchema) -> tuple[float, int]:
    from core_model.action_units import UNION
    from fl_server.aggregation import Aggregator

    old = make_update(schema, 99)
    before, seconds = peak_bytes(), 0.0
    rows = dict.fromkeys(UNION, 1.0)
    started = time.perf_counter()
    aggregator = Aggregator(schema, UNION)
    seconds += time.perf_counter() - started
    for site in range(NUM_SITES):
        update = make_update(schema, site)
        started = time.perf_counter()
        aggregator.fold(update, 1.0 + site, rows)
        seconds += time.perf_counter() - started
        del update
    started = time.perf_counter()
    aggregator.mean(old)
    return seconds + time.perf_counter() - started, peak_bytes() - before


def flower(schema: ParameterSchema) -> tuple[float, int]:
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

    before = peak_bytes()
    replies = [
        RecordDict(
            {
                "arrays": ArrayRecord({n: Array(a) for n, a in make_update(schema, s).items()}),
                "metrics": MetricRecord({"num-examples": 1 + s}),
            }
        )
        for s in range(NUM_SITES)
    ]
    started = time.perf_counter()
    aggregate_arrayrecords(replies, "num-examples")
    return time.perf_counter() - started, peak_bytes() - before


def case(name: str, size: str) -> dict[str, float]:
    schema = schema_of(*SIZES[size])
    floor = min(memory_pass(schema) for _ in range(3))
    seconds, memory = {"ours": ours, "flower": flower}[name](schema)
    return {"seconds": seconds, "floor": floor, "models": memory / schema.num_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smaller model only")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(case(*args.case)))
        return
    print(f"{NUM_SITES} sites      seconds   ratio to one memory pass   peak memory in models")
    for size in list(SIZES)[: 1 if args.quick else 2]:
        for name in ("ours", "flower"):
            run = subprocess.run(
                [sys.executable, __file__, "--case", name, size],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            r = json.loads(run.stdout.splitlines()[-1])
            print(f"{size} {name:8} {r['seconds']:7.2f}   {r['seconds'] / r['floor']:7.1f}"
                  f"                    {r['models']:7.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
