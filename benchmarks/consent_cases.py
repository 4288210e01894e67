"""The parts of bench_consent.py. Each runs in a process of its own, so that its memory is its own.

Floors are measured in the same run and, where the disk is part of them, in turns with what they are
a floor of: a loaded machine slows down both.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sqlite3
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from consent import merkle, store_sqlite
from consent.attestation import Attestation, Code, LogState, sign_attestation
from consent.attestation_check import Expected, Seen
from consent.attestation_check import verify_attestation as check_attestation
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


def build(folder: Path, num: int) -> Figures:
    """Append in batches; the floor is one signature for each entry and one sync for each batch."""
    log = make_log(folder)
    seconds = 0.0
    for start in range(0, num, BATCH):
        batch = events(start, min(BATCH, num - start))
        seconds += seconds_of(lambda batch=batch: log.append(batch, REGISTRAR, now))
    sign = median_of(lambda: REGISTRAR.sign(CHANCE[:400]), 2000)
    return {"seconds": seconds / num, "floor": sign + median_of(appender(folder), 400) / BATCH}


def appender(folder: Path) -> Callable[[], None]:
    """Return what appends 4 KiB to a file and sees them on the disk."""
    f = (folder / "sync").open("wb", buffering=0)

    def append() -> None:
        f.write(CHANCE)
        os.fsync(f.fileno())

    return append


def inserter(folder: Path, journal: str, synchronous: str) -> Callable[[], None]:
    """Return SQLite's own smallest durable insert: one short row, no index, no trigger."""
    db = sqlite3.connect(folder / "smallest", isolation_level=None)
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("CREATE TABLE t (body BLOB)")
    return lambda: db.execute("INSERT INTO t VALUES (?)", (CHANCE[:300],))


def single(folder: Path, wal: int) -> Figures:
    """Append one entry at a time, durably. WAL is for SQLite 3.51.3 on; here one process writes.

    Two floors: a bare sync; and SQLite's smallest insert with the two signatures of an append, of
    the entry and of the tree head.
    """
    store_sqlite.WAL_IS_SAFE = bool(wal)
    log = make_log(folder)
    log.append(events(0, BATCH), REGISTRAR, now)
    one = events(0, 1)
    work = {
        "seconds": lambda: log.append(one, REGISTRAR, now),
        "floor": appender(folder),
        "insert": inserter(folder, *(("WAL", "FULL") if wal else ("TRUNCATE", "EXTRA"))),
        "sign": lambda: (REGISTRAR.sign(CHANCE[:400]), LOG_KEY.sign(CHANCE[:200])),
    }
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(400):
        for name, step in work.items():
            took[name].append(seconds_of(step))
    return {name: statistics.median(times) for name, times in took.items()}


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
    """Check an attestation as the server does: signature, tree heads, growth before and during."""
    log = log_in(folder)
    before = log.snapshot()
    seen = Seen(open_tree_head(before.tree_head, LOG_KEY.verifier), "4" * 64)
    log.append(events(0, 3), REGISTRAR, now)
    snapshot = log.snapshot()
    grown = tuple(h.hex() for h in snapshot.consistency_proof(before.size))
    made = Attestation(
        site="bench", run_id="run", round=3, purpose=Purpose.FINETUNING, nonce="ab" * 16,
        model_in="1" * 64, update="2" * 64, labelled_aus=(1, 2), manifest="3" * 64, min_subjects=2,
        consent=LogState(
            start_head=before.tree_head, tree_head=snapshot.tree_head, since_start=grown,
            consistency=grown,
        ),
        code=Code(name="bench", sha256="5" * 64), previous=seen.digest,
        started_at=now(), ended_at=now(),
    )  # fmt: skip
    envelope = sign_attestation(made, SITE)
    want = Expected("bench", "run", 3, Purpose.FINETUNING, "ab" * 16, "1" * 64, "2" * 64, 2)
    seconds = median_of(
        lambda: check_attestation(envelope, site_key=SITE.verifier, log_key=LOG_KEY.verifier,
                                  expected=want, seen=seen),
        500,
    )  # fmt: skip
    return {"seconds": seconds, "floor": 3 * openssl_verify_seconds()}


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
