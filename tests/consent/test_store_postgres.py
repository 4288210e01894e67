"""The log on a real PostgreSQL server. Skipped only where its programs are not installed."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from consent import merkle
from consent.errors import LogDamagedError, LogRolledBackError
from consent.log import ConsentLog
from consent.model import Role
from consent.note import open_tree_head
from consent.site_events import LogNote, SubjectErased
from consent.store_postgres import PostgresStore, prepare
from consent.verify import verify_log
from tests.consent.conftest import given, key_of, openings_of, withdrawn
from tests.consent.postgres_server import binaries, postgres_server

pytestmark = pytest.mark.skipif(binaries() is None, reason="needs Debian's package postgresql")


@pytest.fixture(scope="module")
def server():
    with postgres_server() as url:
        engine = sa.create_engine(url.replace("postgresql", "postgresql+psycopg"))
        with engine.begin() as db:
            db.execute(sa.text("CREATE ROLE omote LOGIN"))
            db.execute(sa.text("CREATE ROLE mallory LOGIN"))
        engine.dispose()
        yield url


@pytest.fixture
def urls(server, request):
    """URLs of a new schema, for its owner and for the role that appends."""
    schema = f"s{abs(hash(request.node.name))}"
    engine = sa.create_engine(server.replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as db:
        db.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    owner = f"{server}?options=-csearch_path%3D{schema}"
    prepare(owner, "omote")
    return owner, owner.replace("owner@", "omote@")


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "high-water"


@pytest.fixture
def pg(urls, log_key, registrar, vault, clock, mark):
    keys = [(Role.REGISTRAR, registrar.verifier), (Role.DPO, key_of(Role.DPO).verifier)]
    return ConsentLog.create(urls[1], log_key, vault, keys, clock, high_water=mark)


def as_owner(urls, *statements):
    """Do what only the owner of the tables can: with all triggers off."""
    engine = sa.create_engine(urls[0].replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as db:
        db.execute(sa.text("SET session_replication_role = replica"))
        for statement in statements:
            assert db.execute(sa.text(statement)).rowcount
    engine.dispose()


def test_log_verifies_and_proves(pg, urls, log_key, registrar, clock, vault) -> None:
    heads = []
    for i in range(9):
        pg.append([given(f"s{i}"), withdrawn(f"s{i}")], registrar, clock)
        heads.append(open_tree_head(pg.snapshot().tree_head, log_key.verifier))
    found = verify_log(urls[1], log_key.verifier, vault, since=heads)
    snapshot = pg.snapshot()
    assert found.size == snapshot.size == 21
    for head in heads:
        proof = snapshot.consistency_proof(head.size)
        merkle.verify_consistency(head.size, 21, head.root, found.root, proof)
    for i in range(21):
        leaf = merkle.leaf_hash(snapshot.entry(i))
        merkle.verify_inclusion(leaf, i, 21, snapshot.inclusion_proof(i), found.root)
    assert [e for *_, e in snapshot.events(19)] == [given("s8"), withdrawn("s8")]


def test_a_long_log_is_read_in_blocks(pg, urls, log_key, registrar, clock, vault) -> None:
    pg.append([LogNote(text=str(i)) for i in range(2500)], registrar, clock)
    assert [e.text for *_, e in pg.snapshot().events(3)] == [str(i) for i in range(2500)]
    first = verify_log(urls[1], log_key.verifier, vault)
    again = verify_log(urls[1], log_key.verifier, vault, checked=first.checked)
    assert (first.size, first.root) == (again.size, again.root)


def test_erased_openings_break_no_proof(pg, urls, log_key, registrar, clock, vault) -> None:
    pg.append([given("anna"), given("ben")], registrar, clock)
    erased = SubjectErased(subject_id="anna", entries=(3,), ground="GDPR 17(1)(b)")
    pg.append([erased], key_of(Role.DPO), clock, forget=openings_of(pg, "anna"))
    assert verify_log(urls[1], log_key.verifier, vault).num_erased == 1
    assert [e for *_, e in pg.snapshot().events(3)] == [None, given("ben"), erased]


REFUSED = {
    "an entry deleted": "DELETE FROM entry",
    "an entry changed": "UPDATE entry SET body = ''",
    "entries truncated": "TRUNCATE entry CASCADE",
    "an opening changed": "UPDATE opening SET owner = 'ben'",
    "a node deleted": "DELETE FROM node",
    "a tree head deleted": "DELETE FROM tree_head",
    "a cosignature changed": "UPDATE cosignature SET line = ''",
    "a trigger dropped": "DROP TRIGGER kept ON entry",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_the_role_may_only_add(pg, urls, statement) -> None:
    engine = sa.create_engine(urls[1].replace("postgresql", "postgresql+psycopg"))
    with (
        pytest.raises(exc.DBAPIError, match=r"permission denied|must be owner"),
        engine.begin() as db,
    ):
        db.execute(sa.text(statement))
    engine.dispose()


@pytest.mark.parametrize("statement", [s for s in REFUSED.values() if "DROP" not in s])
def test_the_owner_does_not_rewrite_by_mistake(pg, urls, statement, registrar, clock) -> None:
    pg.append([given("anna")], registrar, clock)
    engine = sa.create_engine(urls[0].replace("postgresql", "postgresql+psycopg"))
    with pytest.raises(exc.DBAPIError, match="append-only"), engine.begin() as db:
        db.execute(sa.text(statement))
    engine.dispose()


GAPS = {
    "an entry left out": "INSERT INTO entry VALUES (9, '')",
    "a tree head ahead": "INSERT INTO tree_head VALUES (9, '')",
}


@pytest.mark.parametrize("statement", GAPS.values(), ids=GAPS.keys())
def test_no_gap_can_be_made(pg, urls, statement) -> None:
    engine = sa.create_engine(urls[1].replace("postgresql", "postgresql+psycopg"))
    with pytest.raises(exc.DBAPIError, match="append-only"), engine.begin() as db:
        db.execute(sa.text(statement))
    engine.dispose()


def test_a_stranger_on_the_server_reads_nothing(pg, urls) -> None:
    engine = sa.create_engine(urls[1].replace("postgresql://omote", "postgresql+psycopg://mallory"))
    with pytest.raises(exc.DBAPIError), engine.begin() as db:
        db.execute(sa.text("SELECT * FROM opening"))
    engine.dispose()


SPOIL = {
    "an entry": ("UPDATE entry SET body = set_byte(body, 90, get_byte(body, 90) # 1) "
                 "WHERE seq = 3", "entry 3"),
    "an opening": ("UPDATE opening SET body = (SELECT body FROM opening WHERE seq = 2) "
                   "WHERE seq = 3", "entry 3"),
    "a node": ("UPDATE node SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) "
               "WHERE level = 1 AND seq = 1",
               "entries 2 to 3"),
    "an entry removed": ("DELETE FROM entry WHERE seq = 3", "entry 3 is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "named"), SPOIL.values(), ids=SPOIL.keys())
def test_tampering_is_named(pg, urls, log_key, registrar, clock, vault, statement, named) -> None:
    pg.append([given("anna"), given("ben"), given("cleo")], registrar, clock)
    as_owner(urls, statement)
    with pytest.raises(LogDamagedError, match=named):
        verify_log(urls[1], log_key.verifier, vault)


def test_dropped_triggers_are_noticed(pg, urls, log_key, vault) -> None:
    verify_log(urls[1], log_key.verifier, vault)
    for statement in ("ALTER TABLE node DISABLE TRIGGER kept", "DROP TRIGGER kept ON entry"):
        engine = sa.create_engine(urls[0].replace("postgresql", "postgresql+psycopg"))
        with engine.begin() as db:
            db.execute(sa.text(statement))
        engine.dispose()
        with pytest.raises(LogDamagedError, match="triggers"):
            verify_log(urls[1], log_key.verifier, vault)


def test_a_restored_backup_is_never_signed_over(pg, urls, registrar, clock) -> None:
    pg.append([given("anna"), withdrawn("anna")], registrar, clock)
    as_owner(
        urls,
        "DELETE FROM opening WHERE seq = 4",
        "DELETE FROM entry WHERE seq = 4",
        "DELETE FROM tree_head WHERE size = 5",
    )
    with pytest.raises(LogRolledBackError, match="Nothing was signed"):
        pg.append([given("anna")], registrar, clock)


def test_appenders_wait_for_each_other(pg, urls, log_key, registrar, clock, vault, mark) -> None:
    def work(name):
        mine = ConsentLog(urls[1], log_key, vault, high_water=mark)
        for i in range(20):
            mine.append([given(f"{name}{i}")], registrar, clock)

    threads = [threading.Thread(target=work, args=(n,)) for n in "abc"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert verify_log(urls[1], log_key.verifier, vault).size == 63


def test_a_reader_sees_one_moment(pg, urls, registrar, clock) -> None:
    with PostgresStore(urls[1]).transaction() as tx:
        before = tx.size()
        pg.append([given("anna")], registrar, clock)
        assert (tx.size(), tx.tree_head(4)) == (before, None)


KILL_MID_APPEND = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.store import Transaction
from tests.consent.conftest import OpenVault, given

url, mark, at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
steps = 0
def step(frame, event, arg):
    global steps
    if event == "call" and frame.f_code.co_name in ("run", "run_many", "do_commit", "raise_to"):
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
log = ConsentLog(url, SigningKey.from_seed("site-a/consent-log", b"l" * 32), OpenVault(),
                 high_water=mark)
sys.setprofile(step)
log.append([given("ben"), given("cleo")], SigningKey.from_seed("site-a/registrar", b"r" * 32),
           lambda: datetime(2027, 1, 1, tzinfo=UTC))
"""


@pytest.mark.slow
def test_killed_at_any_step_of_an_append_the_log_is_whole(
    pg, urls, log_key, registrar, clock, vault, mark
) -> None:
    pg.append([given("anna")], registrar, clock)
    before, outcomes = 4, set()
    for at in range(1, 60):
        run = subprocess.run([sys.executable, "-c", KILL_MID_APPEND, urls[1], str(mark), str(at)],
                             check=False, env={**os.environ})  # fmt: skip
        size = verify_log(urls[1], log_key.verifier, vault).size
        outcomes.add((run.returncode, size - before))
        before = size
        if run.returncode == 0:
            break
    # killed before the commit, killed after it (before the mark was raised), and not killed
    assert outcomes == {(-signal.SIGKILL, 0), (-signal.SIGKILL, 2), (0, 2)}
