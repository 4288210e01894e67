"""What a long-lived worker saves against a fresh process for each message, in one run.

Flower starts a process for every message. Either it opens the site and trains (fresh), or it hands
the message to the worker's socket (worker). Both are timed from the start of the process to its
end, in turn, with the same request of one short round: generated noise, few frames, the encoder
``tiny`` at 64 pixels. What is measured is start-up, not training.

    python benchmarks/bench_worker.py [--repeats N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from core_model.config import FinetuneConfig, OptimiserConfig, encoder_config
from core_model.protocol.records import encode_request, write_records
from fl_client.config import load_site_config
from fl_client.socket_client import is_serving
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.loop import write_initial
from tests.federation import AUS, write_federation, write_sites

TRAINING = FinetuneConfig(optimiser=OptimiserConfig(learning_rate=1e-4, batch_size=4))
FRESH = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from core_model.protocol.records import decode_request, encode_update, read_records, write_records
from fl_client.round import run_round
from fl_client.site import open_site
site, raw = open_site(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
opened = time.perf_counter()
write_records(encode_update(run_round(decode_request(read_records(raw)), site)))
print(opened - began, time.perf_counter() - opened)
"""
CARRIED = """
import sys, time
began = time.perf_counter()
from pathlib import Path
import fl_client.app
from fl_client.socket_client import ask_round
raw = Path(sys.argv[2]).read_bytes()
opened = time.perf_counter()
ask_round(Path(sys.argv[1]), raw, 600.0)
print(opened - began, time.perf_counter() - opened)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="messages to take the median of")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folders = write_sites(root)
        stages = [Stage(rounds=1, training=TRAINING).model_dump()]
        config = write_federation(root, folders, stages=stages)
        write_initial(config.initial, encoder_config("tiny", 64), AUS, seed=0)
        request = root / "request"
        raw = write_records(encode_request(Coordinator(config).request("site-a")))
        request.write_bytes(raw)
        toml = folders["site-a"].config
        socket = load_site_config(toml).socket
        worker = subprocess.Popen(
            [sys.executable, "-m", "fl_client.cli", "run", str(toml), "--without-node"],
            stdout=subprocess.DEVNULL,
        )
        try:
            began = time.perf_counter()
            while not is_serving(socket):
                assert worker.poll() is None, "the worker did not start"
                time.sleep(0.1)
            print(f"start of the worker, once      {time.perf_counter() - began:8.2f} s")
            timed(CARRIED, socket, request)  # the first round of a process is slower
            found = [
                (timed(FRESH, folders["site-b"].config, request_of_b(config, root)),
                 timed(CARRIED, socket, request))
                for _ in range(args.repeats)
            ]  # fmt: skip
        finally:
            worker.terminate()
            worker.wait()
    print(f"request                        {len(raw):8,} bytes")
    print("median of", args.repeats, "messages       whole   start   round")
    totals = []
    for name, column in (("fresh process", 0), ("carried to the worker", 1)):
        rows = [pair[column] for pair in found]
        whole, start, rest = (median(row[i] for row in rows) for i in range(3))
        totals.append(whole)
        print(f"{name:28} {whole:7.2f} {start:7.2f} {rest:7.2f} s")
    fresh, carried = totals
    print(f"saved {fresh - carried:.2f} s of {fresh:.2f} s a message, ratio {fresh / carried:.2f}")


def request_of_b(config, root: Path) -> Path:
    """Return the same request for the site that no worker holds."""
    path = root / "request-b"
    if not path.exists():
        path.write_bytes(write_records(encode_request(Coordinator(config).request("site-b"))))
    return path


def timed(code: str, *arguments: Path) -> tuple[float, float, float]:
    """Return seconds of a process: all of it, until it could begin, and the round."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    start, rest = map(float, done.stdout.split())
    return time.perf_counter() - began, start, rest


if __name__ == "__main__":
    main()
