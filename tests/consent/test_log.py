import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta

import pytest

from consent import merkle, store
from consent.entry import parse_entry
from consent.errors import ConsentChangedError, LogDamagedError
from consent.gate import ConsentGate
from consent.log import ConsentLog
from consent.model import Decision, Purpose, decide
from consent.note import open_tree_head
from consent.verify import verify_log
from tests.consent.conftest import given, withdrawn

CASES = {
    "nothing said means no": ([], 5, Decision.NEVER_GIVEN),
    "given": ([given("s")], 5, Decision.ALLOWED),
    "given for something else": ([given("s", Purpose.PRETRAINING)], 5, Decision.NEVER_GIVEN),
    "given, then withdrawn": ([given("s"), withdrawn("s")], 5, Decision.WITHDRAWN),
    "withdrawn, then given again": ([withdrawn("s"), given("s")], 5, Decision.ALLOWED),
    "the other purpose withdrawn": ([given("s"), withdrawn("s", Purpose.EVALUATION)], 5,
                                    Decision.ALLOWED),
}  # fmt: skip


@pytest.mark.parametrize(("events", "day", "want"), CASES.values(), ids=CASES.keys())
def test_decide(events, day, want, clock) -> None:
    assert decide(events, Purpose.FINETUNING, clock() + timedelta(days=day)) is want


def test_consent_expires_at_the_very_moment(clock) -> None:
    events = [given("s", expires_at=clock() + timedelta(days=5))]
    at = lambda **k: decide(events, Purpose.FINETUNING, clock() + timedelta(**k))  # noqa: E731
    assert at(days=5, seconds=-1) is Decision.ALLOWED
    assert at(days=5) is Decision.EXPIRED


def test_log_verifies_and_proves(log, log_key, registrar, clock) -> None:
    heads = []
    for i in range(9):
        log.append([given(f"s{i}"), given(f"t{i}")], registrar, clock)
        heads.append(open_tree_head(log.snapshot().tree_head, log_key.verifier))
    found = verify_log(log.path, log_key.verifier)
    assert (found.size, found.root) == (heads[-1].size, heads[-1].root) == (20, found.root)
    snapshot = log.snapshot()
    for head in heads:
        proof = snapshot.consistency_proof(head.size)
        merkle.verify_consistency(head.size, 20, head.root, found.root, proof)
    with store.transaction(log.path) as db:
        bodies = [r[0] for r in db.execute("SELECT body FROM entry ORDER BY seq")]
    for i, body in enumerate(bodies):
        path = snapshot.inclusion_proof(i)
        merkle.verify_inclusion(merkle.leaf_hash(body), i, 20, path, found.root)


def test_entries_tell_nothing_about_the_person(log, registrar, clock) -> None:
    log.append([given("anna"), given("anna")], registrar, clock)
    with store.transaction(log.path) as db:
        bodies = [r[0] for r in db.execute("SELECT body FROM entry ORDER BY seq")]
    assert not any(b"anna" in b or b"finetuning" in b for b in bodies)
    assert parse_entry(bodies[-1]).commit != parse_entry(bodies[-2]).commit


def test_erased_openings_break_no_proof(log, log_key, registrar, clock) -> None:
    log.append([given("anna"), given("ben")], registrar, clock)
    before = verify_log(log.path, log_key.verifier)
    with store.transaction(log.path, write=True) as db:
        db.execute("DELETE FROM opening WHERE seq = 2")
    after = verify_log(log.path, log_key.verifier)
    assert (after.root, after.num_erased) == (before.root, 1)


def test_time_never_runs_backwards(log, registrar, clock) -> None:
    clock.tick(days=10)
    log.append([given("anna", expires_at=clock() + timedelta(hours=-1))], registrar, clock)
    clock.tick(days=-9)
    ruling = ConsentGate(log, clock).rule(["anna"], Purpose.FINETUNING)
    assert ruling.decisions["anna"] is Decision.EXPIRED


def test_the_log_refuses_to_be_rewritten(log, registrar, clock) -> None:
    log.append([given("anna")], registrar, clock)
    for statement in ("DELETE FROM entry", "UPDATE entry SET body = x'00'", "DELETE FROM node",
                      "DELETE FROM tree_head"):  # fmt: skip
        with (
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
            store.transaction(log.path, write=True) as db,
        ):
            db.execute(statement)


SPOIL = {
    "an entry": ("UPDATE entry SET body = replace(body, '\"v\":1', '\"v\":2') WHERE seq = 3",
                 "entry 3"),
    "an opening": ("UPDATE opening SET event = (SELECT event FROM opening WHERE seq = 2) "
                   "WHERE seq = 3", "entry 3"),
    "two openings swapped": ("UPDATE opening SET salt = CASE seq WHEN 2 THEN "
                             "(SELECT salt FROM opening WHERE seq = 3) ELSE salt END", "entry 2"),
    "a node": ("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND seq = 1", "entry 3"),
    "the last entry removed": ("DELETE FROM entry WHERE seq = 4", "no tree head|promises"),
    "an entry in the middle removed": ("DELETE FROM entry WHERE seq = 3", "entry 3"),
    "a tree head": ("UPDATE tree_head SET note = replace(note, 'site', 'sita') WHERE size = 4",
                    "tree head of size 4"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "named"), SPOIL.values(), ids=SPOIL.keys())
def test_tampering_is_named(log, log_key, registrar, clock, statement, named) -> None:
    for name in ("anna", "ben", "cleo"):
        log.append([given(name)], registrar, clock)
    verify_log(log.path, log_key.verifier)
    db = sqlite3.connect(log.path)
    for table in ("entry", "node", "tree_head"):
        for action in ("UPDATE", "DELETE"):
            db.execute(f"DROP TRIGGER {table}_{action}")
    db.execute(statement.replace("body, ", "CAST(body AS TEXT), ").replace("body = replace",
               "body = CAST(replace").replace("2') WHERE", "2') AS BLOB) WHERE"))  # fmt: skip
    db.commit()
    db.close()
    with pytest.raises(LogDamagedError, match=named):
        verify_log(log.path, log_key.verifier)


def test_an_entry_by_a_stranger_is_found(log, log_key, clock) -> None:
    from consent.keys import SigningKey

    log.append([given("anna")], SigningKey.from_seed("site-a/stranger", b"s" * 32), clock)
    with pytest.raises(LogDamagedError, match="never added"):
        verify_log(log.path, log_key.verifier)


def test_recheck_sees_a_withdrawal_by_another_process(log, log_key, registrar, clock) -> None:
    log.append([given("anna"), given("ben")], registrar, clock)
    gate = ConsentGate(ConsentLog(log.path), clock)
    ruling = gate.rule(["anna", "ben"], Purpose.FINETUNING)
    assert ruling.allowed == {"anna", "ben"}
    assert gate.recheck(ruling).allowed == ruling.allowed
    log.append([withdrawn("ben")], registrar, clock)
    with pytest.raises(ConsentChangedError, match="1 subject") as caught:
        gate.recheck(ruling)
    assert "ben" not in str(caught.value)
    assert gate.rule(["anna", "ben"], Purpose.FINETUNING).allowed == {"anna"}


def test_reading_needs_no_key_and_cannot_write(log, registrar, clock) -> None:
    with pytest.raises(PermissionError):
        ConsentLog(log.path).append([given("anna")], registrar, clock)


KILL_MID_APPEND = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from consent import merkle, store
from consent.keys import SigningKey
from consent.log import ConsentLog
from tests.consent.conftest import given

at = int(sys.argv[2])
steps = 0
def step(frame, event, arg):
    global steps
    if event == "c_call" and getattr(arg, "__name__", "") == "execute":
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
log = ConsentLog(Path(sys.argv[1]), SigningKey.from_seed("site-a/consent-log", b"l" * 32))
registrar = SigningKey.from_seed("site-a/registrar", b"r" * 32)
sys.setprofile(step)
log.append([given("ben"), given("cleo")], registrar, lambda: datetime(2027, 1, 1, tzinfo=UTC))
"""


@pytest.mark.slow
def test_killed_at_any_step_of_an_append_the_log_is_whole(
    log, log_key, registrar, clock, tmp_path
) -> None:
    log.append([given("anna")], registrar, clock)
    sizes = set()
    for at in range(1, 40):
        path = tmp_path / f"copy-{at}.sqlite"
        shutil.copy(log.path, path)
        run = subprocess.run([sys.executable, "-c", KILL_MID_APPEND, str(path), str(at)],
                             check=False, env={**os.environ})  # fmt: skip
        sizes.add((run.returncode, verify_log(path, log_key.verifier).size))
        if run.returncode == 0:
            break
    assert sizes == {(-signal.SIGKILL, 3), (0, 5)}
