"""The log is killed, stopped and copied in the middle of appends. What was acknowledged stays."""

import os
import shutil
import signal
import sys
import time

import pytest

from consent import store_sqlite
from consent.log import ConsentLog
from consent.note import open_tree_head
from consent.site_events import LogNote
from consent.verify import verify_log
from tests.consent.conftest import given


def start(work) -> int:
    """Run in a forked process; return its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def end_of(child) -> int:
    """Wait for a process; return how it ended."""
    return os.waitpid(child, 0)[1]


def kill_at(step):
    """Die by SIGKILL at a step: at the beginning or the end of any call that touches a file."""
    touching = {"execute", "executemany", "connect", "open", "close", "pread", "pwrite", "flock"}
    steps = 0

    def watch(frame, event, arg):
        nonlocal steps
        if event in ("c_call", "c_return") and getattr(arg, "__name__", "") in touching:
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)


@pytest.mark.parametrize("wal", [False, True], ids=["rollback journal", "WAL"])
def test_killed_at_every_write_step_nothing_acknowledged_is_lost(
    log, log_key, registrar, clock, vault, monkeypatch, wal
) -> None:
    """After each death the log is whole, and goes on where it was: no two heads of one size."""
    monkeypatch.setattr(store_sqlite, "WAL_IS_SAFE", wal)
    log.append([given("anna")], registrar, clock)
    heads = {3: log.snapshot().tree_head}
    outcomes = set()
    for step in range(1, 200):
        before = max(heads)

        def append(step=step):
            mine = ConsentLog(log.location, log_key, vault)
            kill_at(step)
            mine.append([given("ben"), given("cleo")], registrar, clock)

        ended = end_of(start(append))
        after = ConsentLog(log.location, log_key, vault)
        found = verify_log(log.location, log_key.verifier, vault)
        outcomes.add((ended, found.size - before))
        with after.store.transaction() as tx:  # every head that was ever seen still stands
            for size, note in heads.items():
                assert tx.tree_head(size) == note
            heads |= dict(tx.tree_heads(0, 10_000))
        assert after.high_water.read().size <= found.size
        after.append([given("dora")], registrar, clock)  # it goes on
        snapshot = after.snapshot()
        heads[snapshot.size] = snapshot.tree_head
        if ended == 0:
            break
    assert outcomes == {(signal.SIGKILL, 0), (signal.SIGKILL, 2), (0, 2)}
    verify_log(log.location, log_key.verifier, vault)


def append_for_ever(log, registrar, clock, acknowledge):
    for i in range(1_000_000):
        log.append([LogNote(text=f"{i} {'x' * 3000}")] * (i % 7 + 1), registrar, clock)
        snapshot = log.snapshot()
        os.write(acknowledge, f"{snapshot.size}\n".encode())


def read_last(pipe) -> int:
    """Return the last size that was acknowledged; 0 if none was."""
    os.set_blocking(pipe, False)
    data = b""
    while True:
        try:
            part = os.read(pipe, 65_536)
        except BlockingIOError:
            part = b""
        if not part:
            lines = data.rpartition(b"\n")[0].split(b"\n")
            return int(lines[-1] or 0)
        data += part


def start_appender(log, registrar, clock):
    """Start a process that appends and says so, until it is killed; return it and what it says."""
    pipe, acknowledge = os.pipe()
    child = start(lambda: append_for_ever(log, registrar, clock, acknowledge))
    os.close(acknowledge)
    return child, pipe


def test_killed_at_random_moments(log, log_key, registrar, clock, vault) -> None:
    for pause_ms in (3, 7, 11, 19, 29, 41, 53, 67):
        child, pipe = start_appender(log, registrar, clock)
        time.sleep(pause_ms / 1000)
        os.kill(child, signal.SIGKILL)
        end_of(child)
        acknowledged = read_last(pipe)
        os.close(pipe)
        assert verify_log(log.location, log_key.verifier, vault).size >= acknowledged
        log.append([given("after")], registrar, clock)


@pytest.fixture
def appender(log, registrar, clock):
    child, pipe = start_appender(log, registrar, clock)
    yield child, pipe
    os.kill(child, signal.SIGKILL)
    end_of(child)
    os.close(pipe)


def test_power_lost_in_the_middle_of_a_transaction(
    log, appender, log_key, registrar, clock, vault, tmp_path
) -> None:
    """The files as they are at a random moment, journal and all, are what a dead machine keeps."""
    child, pipe = appender
    acknowledged, with_journal = 2, 0
    for moment in range(25):
        time.sleep(0.004 + 0.003 * (moment % 5))
        os.kill(child, signal.SIGSTOP)
        os.waitid(os.P_PID, child, os.WSTOPPED)
        acknowledged = max(acknowledged, read_last(pipe))
        copy = tmp_path / str(moment)
        shutil.copytree(log.location.parent, copy)
        os.kill(child, signal.SIGCONT)
        with_journal += (copy / "log.sqlite-journal").stat().st_size > 0
        found = ConsentLog(copy / "log.sqlite", log_key, vault)
        size = found.snapshot().size
        assert size >= acknowledged
        assert found.high_water.read().size <= size
        if moment % 5 == 0:
            assert verify_log(found.location, log_key.verifier, vault).size == size
            found.append([given("after")], registrar, clock)
            verify_log(found.location, log_key.verifier, vault)
    assert acknowledged > 2
    assert with_journal  # at least once it was in the middle


def test_a_journal_left_behind_is_rolled_back(
    log, log_key, registrar, clock, vault, tmp_path
) -> None:
    """Half of a transaction is in the file already when the machine dies."""
    log.append([given("anna")], registrar, clock)
    head = log.snapshot().tree_head
    with log.store._connection(write=True) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("PRAGMA cache_spill = 1")
        for seq in range(3, 400):
            db.execute("INSERT INTO entry VALUES (?, zeroblob(3000))", (seq,))
        shutil.copytree(log.location.parent, tmp_path / "dead")
        db.execute("ROLLBACK")
        db.execute("BEGIN")
    dead = tmp_path / "dead" / "log.sqlite"
    assert dead.stat().st_size > 100_000  # pages of it are in the file
    assert (tmp_path / "dead" / "log.sqlite-journal").stat().st_size > 0
    found = ConsentLog(dead, log_key, vault)
    assert found.snapshot().tree_head == head
    found.append([given("ben")], registrar, clock)
    assert verify_log(dead, log_key.verifier, vault).size == 4


def test_two_processes_append_in_turns(log, log_key, registrar, clock, vault) -> None:
    def work():
        mine = ConsentLog(log.location, log_key, vault)
        for _ in range(10):
            mine.append([given("anna")], registrar, clock)

    children = [start(work) for _ in range(3)]
    assert [end_of(child) for child in children] == [0, 0, 0]
    assert verify_log(log.location, log_key.verifier, vault).size == 32
    head = open_tree_head(log.snapshot().tree_head, log_key.verifier)
    assert log.high_water.read().size == head.size == 32
