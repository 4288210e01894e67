"""How fast a consent log is, each time against what the machine must do at least.

Floors are measured in the same run: SHA-256 over the same bytes and a bare scan of the same tables;
an append and sync of 4 KiB; an Ed25519 verification by OpenSSL. Every part runs in a process of its
own; memory is the peak beyond what the process used before.

    python benchmarks/bench_consent.py [--quick] [--entries N]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from consent_cases import CASES, Figures


def run_case(name: str, folder: Path, *args: object) -> Figures:
    run = subprocess.run(
        [sys.executable, __file__, "--case", name, str(folder), *map(str, args)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(run.stdout.splitlines()[-1])


def show(what: str, got: Figures, unit: str, floor: str, aim: str) -> None:
    scale, name = {"s": (1.0, "s"), "ms": (1e3, "ms"), "us": (1e6, "us")}[unit]
    memory = f"{got['memory'] / 2**20:5.1f} MiB" if "memory" in got else ""
    took, least = got["seconds"], got["floor"]
    print(f"{what:34} {took * scale:9.2f} {name:2}  {took / least:6.2f} x {floor:26} "
          f"{least * scale:8.2f} {name:2}  {memory:10} {aim}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 entries, 100,000 frames")
    parser.add_argument("--entries", type=int, help="size of the log, 1,000,000 if not given")
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        name, folder, *rest = args.case
        values = [int(a) if a.isdecimal() else a for a in rest]
        print(json.dumps(CASES[name](Path(folder), *values)))
        return
    num = args.entries or (20_000 if args.quick else 1_000_000)
    print(f"{num:,} entries, SQLite {sqlite3.sqlite_version}; each against its floor in this run")
    with tempfile.TemporaryDirectory(prefix="omote-bench-") as top:
        log = Path(top) / "log"
        hash_scan, aim = "SHA-256 and scan", "aim: 2.5 x, 64 MiB"
        show(
            "append, in batches of 1,000",
            run_case("build", log, num),
            "us",
            "sign, sync / 1,000",
            "",
        )
        for wal, mode, aim_of in ((0, "rollback, EXTRA", ""), (1, "WAL, FULL", "aim: 2 x")):
            got = run_case("single", log.with_name(f"single{wal}"), wal)
            show(f"append one ({mode})", got, "us", "sync of 4 KiB", aim_of)
            least = got | {"floor": got["insert"] + got["sign"]}
            show("", least, "us", "SQLite's insert, 2 x sign", "")
        show("verify, first time", run_case("verify", log, "first"), "s",
             "and Ed25519 for each", "aim: 64 MiB")  # fmt: skip
        show("verify, again", run_case("verify", log, "again"), "s", hash_scan, aim)
        show("verify, quick", run_case("verify", log, "quick"), "s", hash_scan, aim)
        show(
            "inclusion proof, make",
            run_case("proofs", log, "inclusion"),
            "us",
            "reads of nodes",
            "",
        )
        show(
            "consistency proof, make",
            run_case("proofs", log, "consistency"),
            "us",
            "reads of nodes",
            "",
        )
        show("inclusion proof, check", run_case("proofs", log, "check"), "us", "its hashes", "")
        show("attestation, check", run_case("attestation", log), "ms", "3 Ed25519 verifications",
             "aim: 2 ms")  # fmt: skip
        frames = 100_000 if args.quick else 1_000_000
        show(f"gate, a frame of {frames:,}", run_case("gate", log.with_name("c"), frames), "us",
             "counting", "aim: 3 us")  # fmt: skip


if __name__ == "__main__":
    main()
