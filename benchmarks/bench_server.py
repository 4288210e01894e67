"""What a round costs the server: admission, memory with 100 sites, growth with sites and weights.

Admission is measured for each update at 22 M weights beyond the hash of its bytes, which every
check of a signature needs. The goal is 50 ms. Memory: the peak of the process in a round of 100
sites against one of 2. A round: all that the server itself does with updates that lie in memory;
what travels and what sites do is not in it. Secure sums against plain ones: bench_secure.py.

    python benchmarks/bench_server.py [--quick]
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np
from bench_aggregate import SIZES, make_update, schema_of

from core_model.action_units import UNION
from core_model.norms import change_norm
from core_model.protocol.messages import digest
from core_model.schema import Arrays, ParameterSchema
from fl_server.aggregation import Aggregator

GOAL_S = 0.050
MAX_GROWTH = 1.1
SMALL = {"5 M": (192, 12)}


def seconds_of(what, times: int) -> float:
    """Return the median of some calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        what()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def admission(times: int) -> None:
    """Print what each part costs. The signature and the proofs take about a millisecond."""
    schema = schema_of(*SIZES["22 M"])
    model, update = make_update(schema, 0), make_update(schema, 1)
    hashing = seconds_of(lambda: digest(update), times)
    checking = seconds_of(lambda: schema.check(update), times)
    norm = seconds_of(lambda: change_norm(model, update), times)
    print(f"hash of the bytes          {hashing * 1e3:7.1f} ms")
    print(f"names, shapes, finite      {checking * 1e3:7.1f} ms")
    print(f"norm of the change         {norm * 1e3:7.1f} ms")
    total = checking + norm
    word = "met" if total <= GOAL_S else "NOT met"
    print(f"admission beyond the hash  {total * 1e3:7.1f} ms; goal {GOAL_S * 1e3:.0f} ms {word}")


def growth(times: int) -> None:
    """Print what the server does in a round, for some sites and some sizes of the model."""
    for size, num_sites in (
        ("22 M", 2), ("22 M", 5), ("22 M", 10), ("22 M", 20),
        ("5 M", 5), ("22 M", 5), ("86 M", 5),
    ):  # fmt: skip
        schema = schema_of(*(SIZES | SMALL)[size])
        model, update = make_update(schema, 0), make_update(schema, 1)
        seconds = seconds_of(partial(one_round, schema, model, update, num_sites), times)
        print(f"a round, {size:>4} weights, {num_sites:3} sites {seconds:7.2f} s, "
              f"{seconds / num_sites * 1e3:6.0f} ms a site")  # fmt: skip


def one_round(schema: ParameterSchema, model: Arrays, update: Arrays, num_sites: int) -> None:
    aggregator, rows = Aggregator(schema, UNION), dict.fromkeys(UNION, 1.0)
    for _ in range(num_sites):
        digest(update)
        schema.check(update)
        change_norm(model, update)
        aggregator.fold(update, 1.0, rows)
    digest(aggregator.mean(model))


def peak_of(num_sites: int) -> int:
    """Return the peak memory of a process that adds up so many updates, one at a time."""
    command = [sys.executable, __file__, "--sites", str(num_sites)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def add_up(num_sites: int) -> int:
    schema = schema_of(*SIZES["22 M"])
    aggregator, rows = Aggregator(schema, UNION), dict.fromkeys(UNION, 1.0)
    update = make_update(schema, 0)
    for _ in range(num_sites):
        received = {name: array.copy() for name, array in update.items()}
        aggregator.fold(received, 1.0, rows)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sites", type=int)
    options = parser.parse_args()
    if options.sites:
        print(add_up(options.sites))
        return
    print(f"{platform.machine()}, numpy {np.__version__}, 22 M weights")
    admission(3 if options.quick else 15)
    growth(1 if options.quick else 3)
    few, many = peak_of(2), peak_of(20 if options.quick else 100)
    print(f"peak memory, 2 sites       {few / 1e6:7.0f} MB")
    print(f"peak memory, many sites    {many / 1e6:7.0f} MB")
    assert many <= MAX_GROWTH * few, "memory grows with the number of sites"


if __name__ == "__main__":
    main()
