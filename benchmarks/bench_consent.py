"""How fast a consent log is, each time against what the machine must do at least.

Floors are measured in the same run: SHA-256 over the same bytes and a bare scan of the same tables;
an append and sync of 4 KiB; an Ed25519 verification by OpenSSL. Every part runs in a process of its
own; memory is the peak beyond what the process used before.

    python benchmarks/bench_consent.py [--quick] [--entries N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from consent import merkle, store_sqlite
from consent.attestation import Attestation, Expected, LogState, sign_attestation
from consent.attestation import verify_attestation as check_attestation
from consent.checked import Checked
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import ConsentKind, Grant, NoticeRef, Purpose, Role, Span
from consent.note import open_tree_head
from consent.registry import Registry
from consent.site_events import AssetLinked
from consent.subject_events import ConsentGiven, SubjectRegistered
from consent.vault import Vault
from consent.verify import verify_log

BATCH = 1000
NUM_SUBJECTS = 1000
NOTICE = NoticeRef(notice_id="study", version=1, language="en", sha256="0" * 64)
LOG_KEY = SigningKey.from_seed("bench/consent-log", b"l" * 32)
REGISTRAR = SigningKey.from_seed("bench/registrar", b"r" * 32)
SITE = SigningKey.from_seed("bench/site", b"s" * 32)
CHANCE = b"x" * 4096

Figures = dict[str, float]


def now() -> datetime:
    return datetime.now(UTC)


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Return the mean time of some calls."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def median_of(work: Callable[[], object], times: int) -> float:
    return statistics.median(seconds_of(work) for _ in range(times))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def events(start: int, num: int) -> list[ConsentGiven]:
    grants = (Grant(purpose=Purpose.FINETUNING),)
    return [
        ConsentGiven(subject_id=f"s{i % NUM_SUBJECTS}", grants=grants, notice=NOTICE,
                     evidence="1" * 64)
        for i in range(start, start + num)
    ]  # fmt: skip


def vault_in(folder: Path) -> Vault:
    return Vault.open(folder / "keystore.sqlite", folder / "kek.key")


def log_in(folder: Path) -> ConsentLog:
    return ConsentLog(folder / "log.sqlite", LOG_KEY, vault_in(folder))


def make_log(folder: Path) -> ConsentLog:
    folder.mkdir()
    vault = Vault.create(folder / "keystore.sqlite", folder / "kek.key")
    vault.prepare(f"s{i}" for i in range(NUM_SUBJECTS))
    keys = [(Role.REGISTRAR, REGISTRAR.verifier)]
    return ConsentLog.create(folder / "log.sqlite", LOG_KEY, vault, keys, now)


# --- each of these runs in a process of its own --------------------------------------------------


def build(folder: Path, num: int) -> Figures:
    """Append in batches; the floor is one signature for each entry and one sync for each batch."""
    log = make_log(folder)
    seconds = 0.0
    for start in range(0, num, BATCH):
        batch = events(start, min(BATCH, num - start))
        seconds += seconds_of(lambda batch=batch: log.append(batch, REGISTRAR, now))
    sign = median_of(lambda: REGISTRAR.sign(CHANCE[:400]), 2000)
    return {"seconds": seconds / num, "floor": sign + fsync_seconds(folder) / BATCH}


def fsync_seconds(folder: Path) -> float:
    """Return the median time to append 4 KiB to a file and see them on the disk."""
    with (folder / "sync").open("wb", buffering=0) as f:

        def append() -> None:
            f.write(CHANCE)
            os.fsync(f.fileno())

        return median_of(append, 400)


def single(folder: Path, wal: int) -> Figures:
    """Append one entry at a time, durably. WAL is for SQLite 3.51.3 on; here one process writes."""
    store_sqlite.WAL_IS_SAFE = bool(wal)
    log = make_log(folder)
    log.append(events(0, BATCH), REGISTRAR, now)
    one = events(0, 1)
    sync = [fsync_seconds(folder)]
    seconds = median_of(lambda: log.append(one, REGISTRAR, now), 400)
    sync.append(fsync_seconds(folder))
    return {"seconds": seconds, "floor": statistics.mean(sync)}


def scan_and_hash(folder: Path) -> float:
    """Return the time to read every row once, and to hash every byte once, nodes included."""
    db = sqlite3.connect(folder / "log.sqlite")
    sha, hashing, num = hashlib.sha256, 0.0, 0
    started = time.perf_counter()
    for scan in ("SELECT * FROM entry", "SELECT * FROM opening", "SELECT * FROM node",
                 "SELECT * FROM tree_head"):  # fmt: skip
        for _ in db.execute(scan):
            pass
    scanning = time.perf_counter() - started
    entries, openings = db.execute("SELECT body FROM entry"), db.execute("SELECT body FROM opening")
    while block := entries.fetchmany(10_000):
        rest = openings.fetchmany(10_000)
        num += len(block)
        started = time.perf_counter()
        for (body,) in block:
            sha(body).digest()
        for (body,) in rest:
            sha(body).digest()
        hashing += time.perf_counter() - started
    pair = CHANCE[:65]
    started = time.perf_counter()
    for _ in range(num):
        sha(pair).digest()
    return scanning + hashing + time.perf_counter() - started


def openssl_verify_seconds() -> float:
    """Return the time of one Ed25519 verification."""
    public, signature = SITE.private.public_key(), SITE.sign(CHANCE[:400])
    return median_of(lambda: public.verify(signature, CHANCE[:400]), 2000)


def verify(folder: Path, how: str) -> Figures:
    """Verify: the first time, again with what was checked before, or quickly."""
    vault, note = vault_in(folder), folder / "checked"
    checked = Checked.load(note, LOG_KEY.verifier) if how == "again" else None
    before = peak_bytes()
    started = time.perf_counter()
    quick = how == "quick"
    found = verify_log(folder / "log.sqlite", LOG_KEY.verifier, None if quick else vault,
                       checked=checked, quick=quick)  # fmt: skip
    seconds = time.perf_counter() - started
    memory = peak_bytes() - before
    if how == "first":
        found.checked.save(note, LOG_KEY.verifier)
    floor = scan_and_hash(folder)
    if how == "first":
        floor += found.size * openssl_verify_seconds()
    return {"seconds": seconds, "floor": floor, "memory": memory}


def proofs(folder: Path, kind: str) -> Figures:
    """Make and check proofs at the end of the log; the floor of a check is its hashes."""
    log = log_in(folder)
    snapshot = log.snapshot()
    size, root = snapshot.size, open_tree_head(snapshot.tree_head, LOG_KEY.verifier).root
    places = [size * i // 500 for i in range(1, 500)]
    paths = [snapshot.inclusion_proof(i) for i in places]
    leaves = [merkle.leaf_hash(snapshot.entry(i)) for i in places]
    steps = sum(map(len, paths)) / len(paths)
    pair = CHANCE[:65]
    floor = steps * min(seconds_of(lambda: hashlib.sha256(pair).digest(), 5000) for _ in range(5))
    if kind == "check":
        started = time.perf_counter()
        for leaf, index, path in zip(leaves, places, paths, strict=True):
            merkle.verify_inclusion(leaf, index, size, path, root)
        return {"seconds": (time.perf_counter() - started) / len(places), "floor": floor}
    make = snapshot.inclusion_proof if kind == "inclusion" else snapshot.consistency_proof
    started = time.perf_counter()
    for index in places:
        make(index)
    seconds = (time.perf_counter() - started) / len(places)
    db = sqlite3.connect(folder / "log.sqlite")
    read = "SELECT hash FROM node WHERE level = 1 AND seq = ?"
    rows = [(size * i // 1100,) for i in range(500)]
    one = statistics.mean(seconds_of(lambda r=r: db.execute(read, r).fetchone()) for r in rows)
    return {"seconds": seconds, "floor": steps * one}


def attestation(folder: Path) -> Figures:
    """Check an attestation as the server does: signature, tree head, consistency with the last."""
    log = log_in(folder)
    seen = open_tree_head(log.snapshot().tree_head, LOG_KEY.verifier)
    log.append(events(0, 3), REGISTRAR, now)
    snapshot = log.snapshot()
    made = Attestation(
        site="bench", run_id="run", round=3, purpose=Purpose.FINETUNING, nonce="ab" * 16,
        model_in="1" * 64, update="2" * 64, labelled_aus=(1, 2), manifest="3" * 64, min_subjects=2,
        consent=LogState(
            start_size=seen.size, tree_head=snapshot.tree_head,
            consistency=tuple(h.hex() for h in snapshot.consistency_proof(seen.size)),
        ),
        code="bench", started_at=now(), ended_at=now(),
    )  # fmt: skip
    envelope = sign_attestation(made, SITE)
    want = Expected("bench", "run", 3, Purpose.FINETUNING, "ab" * 16, "1" * 64, "2" * 64, 2)
    seconds = median_of(
        lambda: check_attestation(envelope, site_key=SITE.verifier, log_key=LOG_KEY.verifier,
                                  expected=want, last_head=seen),
        500,
    )  # fmt: skip
    return {"seconds": seconds, "floor": 2 * openssl_verify_seconds()}


def gate(folder: Path, num_frames: int) -> Figures:
    """Rule on every frame of many recordings, a second face in every tenth; floor: count them."""
    per_recording = 1000
    registry = Registry.create(folder, "bench", now)
    notice = registry.publish_notice("study", "en", "text", [Purpose.FINETUNING])
    grants = (Grant(purpose=Purpose.FINETUNING),)
    num = num_frames // per_recording
    people = [f"s{i}" for i in range(num)]
    registry.append([SubjectRegistered(subject_id=s) for s in people], Role.REGISTRAR)
    registry.append(
        [
            ConsentGiven(subject_id=s, grants=grants, notice=notice, kind=ConsentKind.EXPLICIT,
                         evidence="1" * 64)
            for s in people[::2] + people[1::4]
        ],
        Role.REGISTRAR,
    )  # fmt: skip
    assets = [hashlib.sha256(s.encode()).hexdigest() for s in people]
    linked = [
        AssetLinked(asset=asset, spans=(
            Span(first=1, last=900, num_faces=1, subjects=(people[i],)),
            Span(first=901, last=per_recording, num_faces=2,
                 subjects=(people[i], people[(i + 1) % num])),
        ))
        for i, asset in enumerate(assets)
    ]  # fmt: skip
    registry.append(linked, Role.OPERATOR)
    gate = registry.gate
    gate.rule_assets(assets[:1], Purpose.FINETUNING)  # the log is read once, when a site starts
    before = peak_bytes()
    started = time.perf_counter()
    ruling = gate.rule_assets(assets, Purpose.FINETUNING)
    used = sum(1 for frames in ruling.frames.values() for _ in frames)
    seconds = time.perf_counter() - started
    assert 0 < used < num_frames
    memory = peak_bytes() - before
    counting = seconds_of(lambda: sum(1 for _ in assets for _ in range(per_recording)))
    return {"seconds": seconds / num_frames, "floor": counting / num_frames, "memory": memory}


CASES = {"build": build, "single": single, "verify": verify, "proofs": proofs,
         "attestation": attestation, "gate": gate}  # fmt: skip


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
        mode = "DELETE, EXTRA"
        show(
            f"append one ({mode})",
            run_case("single", log.with_name("a"), 0),
            "us",
            "sync of 4 KiB",
            "",
        )
        show("append one (WAL, FULL)", run_case("single", log.with_name("b"), 1), "us",
             "sync of 4 KiB", "aim: 2 x")  # fmt: skip
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
        show("attestation, check", run_case("attestation", log), "ms", "2 Ed25519 verifications",
             "aim: 2 ms")  # fmt: skip
        frames = 100_000 if args.quick else 1_000_000
        show(f"gate, a frame of {frames:,}", run_case("gate", log.with_name("c"), frames), "us",
             "counting", "aim: 3 us")  # fmt: skip


if __name__ == "__main__":
    main()
