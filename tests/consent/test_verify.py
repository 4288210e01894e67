"""What the store refuses, what verification finds, and what a second pass may skip."""

import shutil
import sqlite3
from contextlib import contextmanager

import pytest

from consent.checked import Checked
from consent.entry import Entry
from consent.errors import LogDamagedError, LogRolledBackError, MalformedError
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import Role
from consent.note import open_tree_head
from consent.site_events import SubjectErased
from consent.store import BLOCK
from consent.verify import verify_log
from tests.consent.conftest import Clock, OpenVault, given, key_of, make_log, openings_of, withdrawn

REWRITES = {
    "an entry deleted": "DELETE FROM entry",
    "an entry changed": "UPDATE entry SET body = x'00'",
    "an entry replaced": "INSERT OR REPLACE INTO entry VALUES (1, x'00')",
    "an entry left out": "INSERT INTO entry VALUES (9, x'00')",
    "a node deleted": "DELETE FROM node",
    "a node replaced": "REPLACE INTO node VALUES (1, 0, zeroblob(32))",
    "a tree head deleted": "DELETE FROM tree_head",
    "a tree head replaced": "REPLACE INTO tree_head VALUES (3, 'x')",
    "a tree head ahead of the entries": "INSERT INTO tree_head VALUES (4, 'x')",
    "an opening changed": "UPDATE opening SET owner = 'ben'",
    "an opening replaced": "REPLACE INTO opening VALUES (2, 'ben', x'00')",
    "a cosignature deleted": "DELETE FROM cosignature",
}


@pytest.mark.parametrize("statement", REWRITES.values(), ids=REWRITES.keys())
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_the_log_refuses_to_be_rewritten(log, registrar, clock, statement, recursive) -> None:
    log.append([given("anna")], registrar, clock)
    with log.store.transaction(write=True) as tx:
        tx.add_cosignature(3, "w", "line")
    db = sqlite3.connect(log.location)
    db.execute(f"PRAGMA recursive_triggers = {recursive}")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)


SPOIL = {
    "an entry": ("UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '\"v\":1', '\"v\":2') "
                 "AS BLOB) WHERE seq = 3", "entry 3"),
    "an opening": ("UPDATE opening SET body = (SELECT body FROM opening WHERE seq = 2) "
                   "WHERE seq = 3", "entry 3"),
    "an opening by another salt": ("UPDATE opening SET body = CAST(substr(body, 1, 8) || "
                                   "zeroblob(32) || substr(body, 41) AS BLOB) WHERE seq = 3",
                                   "entry 3"),
    "an opening too many": ("INSERT INTO opening VALUES (9, NULL, x'00')", "beyond"),
    "a node": ("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND seq = 1", "entries 2 to 3"),
    "a node removed": ("DELETE FROM node WHERE level = 1 AND seq = 1", "expected the nodes"),
    "a node moved": ("UPDATE node SET seq = 7 WHERE level = 1 AND seq = 1", "entries 2 to 3"),
    "the last entry removed": ("DELETE FROM entry WHERE seq = 4", "promises 5"),
    "an entry in the middle removed": ("DELETE FROM entry WHERE seq = 3", "entry 3 is missing"),
    "the last head removed": ("DELETE FROM tree_head WHERE size = 5", "entry 4: no tree head"),
    "a tree head": ("UPDATE tree_head SET note = replace(note, 'site', 'sita') WHERE size = 4",
                    "tree head of size 4"),
}  # fmt: skip


@contextmanager
def without_triggers(path):
    """Open the file as someone who owns it can; nobody sees afterwards that guards were gone."""
    db = sqlite3.connect(path)
    guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    yield db
    for _, sql in guards:
        db.execute(sql)
    db.commit()
    db.close()


def spoil(path, statement):
    with without_triggers(path) as db:
        assert db.execute(statement).rowcount


def test_dropped_triggers_are_noticed(log, log_key, registrar, clock, vault) -> None:
    log.append([given("anna")], registrar, clock)
    weak = "CREATE TRIGGER entry_UPDATE BEFORE UPDATE ON entry BEGIN SELECT 1; END"
    more = "CREATE TRIGGER more AFTER INSERT ON entry BEGIN DELETE FROM opening; END"
    for statement in ("DROP TRIGGER entry_UPDATE", weak, more):
        db = sqlite3.connect(log.location)
        db.execute(statement)
        db.close()
        with pytest.raises(LogDamagedError, match="triggers"):
            verify_log(log.location, log_key.verifier, vault)


@pytest.mark.parametrize(("statement", "named"), SPOIL.values(), ids=SPOIL.keys())
def test_tampering_is_named(log, log_key, registrar, clock, vault, statement, named) -> None:
    for name in ("anna", "ben", "cleo"):
        log.append([given(name)], registrar, clock)
    verify_log(log.location, log_key.verifier, vault)
    spoil(log.location, statement)
    with pytest.raises(LogDamagedError, match=named):
        verify_log(log.location, log_key.verifier, vault)


def test_an_entry_by_a_stranger_is_found(log, log_key, clock, vault) -> None:
    log.append([given("anna")], SigningKey.from_seed("site-a/stranger", b"s" * 32), clock)
    with pytest.raises(LogDamagedError, match="never added"):
        verify_log(log.location, log_key.verifier, vault)


def flipped(path, table, column, where):
    """Yield while one byte after the other of a value is changed; put the value back."""
    db = sqlite3.connect(path)
    (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
    db.close()
    data = value.encode() if isinstance(value, str) else value
    statement = f"UPDATE {table} SET {column} = ? WHERE {where}"
    for at in range(len(data)):
        bent = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        text = bent.decode(errors="replace") if isinstance(value, str) else bent
        with without_triggers(path) as db:
            db.execute(statement, (text,))
        yield at
    with without_triggers(path) as db:
        db.execute(statement, (value,))


FLIPS = {
    "an entry": ("entry", "body", "seq = 3", "entry 3"),
    "an opening": ("opening", "body", "seq = 3", "entry 3"),
    "a node": ("node", "hash", "level = 1 AND seq = 1", "entries 2 to 3"),
    "a tree head": ("tree_head", "note", "size = 4", "tree head of size 4"),
}


@pytest.mark.parametrize(("table", "column", "where", "named"), FLIPS.values(), ids=FLIPS.keys())
def test_tampered_row_is_named_whichever_byte_was_changed(
    log, log_key, registrar, clock, vault, table, column, where, named
) -> None:
    for name in ("anna", "ben", "cleo"):
        log.append([given(name)], registrar, clock)
    for _ in flipped(log.location, table, column, where):
        with pytest.raises(LogDamagedError, match=named):
            verify_log(log.location, log_key.verifier, vault)
    verify_log(log.location, log_key.verifier, vault)


# --- a second pass ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory):
    """Two full blocks and a part: made once, and copied for each test."""
    path = tmp_path_factory.mktemp("long") / "site" / "log.sqlite"
    log_key = SigningKey.from_seed("site-a/consent-log", b"l" * 32)
    registrar = SigningKey.from_seed("site-a/registrar", b"r" * 32)
    made = make_log(path, log_key, registrar, OpenVault(), Clock(), Role.DPO, Role.ROOT)
    for start in range(0, 2500, 500):
        made.append([given(f"s{start + i}") for i in range(500)], registrar, Clock())
    return path.parent


@pytest.fixture
def long_log(long_folder, tmp_path, log_key, vault):
    shutil.copytree(long_folder, tmp_path / "long")
    return ConsentLog(tmp_path / "long" / "log.sqlite", log_key, vault)


def test_a_second_pass_checks_no_signature_twice(
    long_log, log_key, registrar, clock, vault, monkeypatch, tmp_path
) -> None:
    first = verify_log(long_log.location, log_key.verifier, vault).checked
    first.save(tmp_path / "checked", log_key.verifier)
    checked = Checked.load(tmp_path / "checked", log_key.verifier)
    assert checked == first
    assert len(checked.blocks) == 2504 // BLOCK
    long_log.append([withdrawn("s0")], registrar, clock)
    counted = []
    plain = Entry.check
    monkeypatch.setattr(Entry, "check", lambda *a: (counted.append(a), plain(*a)))
    again = verify_log(long_log.location, log_key.verifier, vault, checked=checked)
    assert (again.size, len(counted)) == (2505, 2505 - 2 * BLOCK)


def test_after_an_erasure_only_its_blocks_are_checked_anew(
    long_log, log_key, clock, vault, monkeypatch
) -> None:
    checked = verify_log(long_log.location, log_key.verifier, vault).checked
    erased = SubjectErased(subject_id="s7", entries=(11,), ground="GDPR 17(1)(b)")
    long_log.append([erased], key_of(Role.DPO), clock, forget=openings_of(long_log, "s7"))
    counted = []
    plain = Entry.check
    monkeypatch.setattr(Entry, "check", lambda *a: (counted.append(a), plain(*a)))
    again = verify_log(long_log.location, log_key.verifier, vault, checked=checked)
    assert (again.num_erased, len(counted)) == (1, 2505 - BLOCK)


SECOND = {
    "an entry": ("UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '\"v\":1', '\"v\":2') "
                 "AS BLOB) WHERE seq = 3", "entry 3"),
    "an opening": ("UPDATE opening SET body = x'00' WHERE seq = 1030", "entry 1030"),
    "an opening removed": ("DELETE FROM opening WHERE seq = 9", "entry 9: its opening is gone"),
    "a node": ("UPDATE node SET hash = zeroblob(32) WHERE level = 4 AND seq = 3", "entries 48 to"),
    "a high node": ("UPDATE node SET hash = zeroblob(32) WHERE level = 11", "entries 0 to 2047"),
    "a tree head": ("UPDATE tree_head SET note = replace(note, 'site', 'sita') WHERE size = 504",
                    "tree head of size 504"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "named"), SECOND.values(), ids=SECOND.keys())
def test_tampering_with_what_was_checked_is_named(
    long_log, log_key, vault, statement, named
) -> None:
    checked = verify_log(long_log.location, log_key.verifier, vault).checked
    spoil(long_log.location, statement)
    with pytest.raises(LogDamagedError, match=named):
        verify_log(long_log.location, log_key.verifier, vault, checked=checked)


def test_truncated_log_signed_anew_does_not_extend_what_was_seen(
    long_log, log_key, registrar, clock, vault, tmp_path
) -> None:
    """Entries, nodes and heads removed consistently, and other entries signed in their place."""
    shutil.copytree(long_log.location.parent, tmp_path / "before")
    long_log.append([withdrawn("s0")], registrar, clock)
    seen = open_tree_head(long_log.snapshot().tree_head, log_key.verifier)
    checked = verify_log(long_log.location, log_key.verifier, vault).checked
    cut = ConsentLog(tmp_path / "before" / "log.sqlite", log_key, vault)
    verify_log(cut.location, log_key.verifier, vault)  # nothing is wrong with it on its own
    for _ in range(2):
        for quick in (False, True):
            with pytest.raises(LogRolledBackError):
                verify_log(cut.location, log_key.verifier, vault, since=[seen], quick=quick)
            with pytest.raises(LogRolledBackError):
                verify_log(cut.location, log_key.verifier, vault, checked=checked, quick=quick)
        cut.append([given("new"), given("newer")], registrar, clock)  # longer than what was seen


def test_a_file_of_what_was_checked_is_of_one_log(tmp_path, log_key, registrar) -> None:
    Checked(3, b"r" * 32, (b"d" * 32,)).save(tmp_path / "checked", log_key.verifier)
    assert (tmp_path / "checked").stat().st_mode & 0o777 == 0o600
    with pytest.raises(MalformedError, match="expected what was checked of site-a/registrar"):
        Checked.load(tmp_path / "checked", registrar.verifier)
    text = (tmp_path / "checked").read_text()
    for bent in ("", text.replace("64", "zz"), text[:-10], text.replace("\n3\n", "\n-3\n")):
        (tmp_path / "checked").write_text(bent)
        with pytest.raises(MalformedError):
            Checked.load(tmp_path / "checked", log_key.verifier)


def test_a_quick_pass_needs_no_vault_and_says_what_it_leaves_out(long_log, log_key, vault) -> None:
    with pytest.raises(ValueError, match="only a quick pass"):
        verify_log(long_log.location, log_key.verifier, None)
    assert verify_log(long_log.location, log_key.verifier, None, quick=True).size == 2504
    spoil(long_log.location, "UPDATE opening SET body = x'00' WHERE seq = 1030")
    assert verify_log(long_log.location, log_key.verifier, None, quick=True).size == 2504
    spoil(long_log.location, SECOND["an entry"][0])
    with pytest.raises(LogDamagedError, match="entries 2 to 3"):
        verify_log(long_log.location, log_key.verifier, None, quick=True)
