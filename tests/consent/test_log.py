import shutil
import sqlite3
from datetime import timedelta

import pytest

from consent import merkle
from consent.checked import Checked
from consent.entry import Entry, parse_entry
from consent.errors import LogDamagedError, LogRolledBackError, MalformedError
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import Role
from consent.note import open_tree_head
from consent.site_events import ClockAnomaly, KeyAdded, KeyRevoked, LogNote, SubjectErased
from consent.store import BLOCK
from consent.verify import verify_log
from tests.consent.conftest import given, key_of, make_log, withdrawn


def bodies(log):
    with log.store.transaction() as tx:
        return [body for _, body in tx.entries(0, tx.size())]


def head_of(log, log_key):
    return open_tree_head(log.snapshot().tree_head, log_key.verifier)


def test_log_verifies_and_proves(log, log_key, registrar, clock, vault) -> None:
    heads = []
    for i in range(9):
        log.append([given(f"s{i}"), given(f"t{i}")], registrar, clock)
        heads.append(head_of(log, log_key))
    found = verify_log(log.location, log_key.verifier, vault, since=heads)
    assert (found.size, found.root) == (heads[-1].size, heads[-1].root) == (20, found.root)
    snapshot = log.snapshot()
    for head in heads:
        proof = snapshot.consistency_proof(head.size)
        merkle.verify_consistency(head.size, 20, head.root, found.root, proof)
    for i, body in enumerate(bodies(log)):
        path = snapshot.inclusion_proof(i)
        merkle.verify_inclusion(merkle.leaf_hash(body), i, 20, path, found.root)


def test_events_are_read_from_any_index_on(log, log_key, registrar, clock) -> None:
    clock.tick(hours=1)
    log.append([given("anna")], registrar, clock)
    snapshot = log.snapshot()
    log.append([withdrawn("anna")], registrar, clock)  # after the snapshot
    got = list(snapshot.events())
    assert [index for index, _, _, _ in got] == [0, 1, 2]
    assert got[1][3] == KeyAdded(vkey=registrar.verifier.vkey, role=Role.REGISTRAR)
    seconds = int(clock().timestamp())
    assert got[2] == (2, seconds, registrar.verifier.key_id.hex(), given("anna"))
    assert list(snapshot.events(2)) == got[2:]
    assert list(snapshot.events(3)) == []
    assert snapshot.last_time == clock()


def test_a_long_log_is_read_in_blocks(log, log_key, registrar, clock, vault) -> None:
    for start in range(0, 3000, 500):
        log.append([LogNote(text=str(start + i)) for i in range(500)], registrar, clock)
    got = [event.text for _, _, _, event in log.snapshot().events(2)]
    assert got == [str(i) for i in range(3000)]
    assert verify_log(log.location, log_key.verifier, vault).size == 3002


def test_entries_tell_nothing_about_the_person(log, registrar, clock) -> None:
    log.append([given("anna"), given("anna")], registrar, clock)
    assert not any(b"anna" in b or b"finetuning" in b for b in bodies(log))
    first, second = bodies(log)[-2:]
    assert parse_entry(first).commit != parse_entry(second).commit


@pytest.fixture
def staffed(tmp_path, log_key, registrar, vault, clock):
    """A log that also knows a data-protection officer and a root key: entries begin at 4."""
    path = tmp_path / "staffed" / "log.sqlite"
    return make_log(path, log_key, registrar, vault, clock, Role.DPO, Role.ROOT)


def test_erased_openings_break_no_proof(staffed, log_key, registrar, clock, vault) -> None:
    log = staffed
    log.append([given("anna"), given("ben"), withdrawn("anna")], registrar, clock)
    before = head_of(log, log_key)
    mine = log.openings_of("anna")
    assert mine == [4, 6]
    erased = SubjectErased(subject_id="anna", entries=tuple(mine), ground="GDPR 17(1)(b)")
    log.append([erased], key_of(Role.DPO), clock, forget=mine)
    after = verify_log(log.location, log_key.verifier, vault, since=[before])
    assert (after.size, after.num_erased) == (8, 2)
    assert [e for _, _, _, e in log.snapshot().events(4)] == [None, given("ben"), None, erased]
    assert log.openings_of("anna") == []


def test_a_withdrawal_made_unreadable_is_lost_not_erased(
    log, log_key, registrar, clock, vault
) -> None:
    log.append([given("anna"), withdrawn("anna")], registrar, clock)
    with log.store.transaction(write=True) as tx:
        tx.delete_openings([3])
    with pytest.raises(LogDamagedError, match="entry 3: its opening is gone and no erasure"):
        verify_log(log.location, log_key.verifier, vault)


def test_time_never_runs_backwards_and_the_log_says_so(log, registrar, clock, log_key) -> None:
    clock.tick(days=10)
    log.append([given("anna")], registrar, clock)
    clock.tick(days=-1)
    assert log.append([given("ben")], registrar, clock) == range(4, 5)
    (at, late, key, anomaly), (_, time_s, _, _) = log.snapshot().events(3)
    assert (at, key, anomaly) == (3, log_key.verifier.key_id.hex(), ClockAnomaly(seconds=86_400))
    assert late == time_s == int((clock() + timedelta(days=1)).timestamp())


def test_reading_needs_no_key_and_cannot_write(log, registrar, clock, vault) -> None:
    with pytest.raises(PermissionError):
        ConsentLog(log.location, None, vault).append([given("anna")], registrar, clock)


def test_without_a_vault_nothing_personal_is_read(log, registrar, clock) -> None:
    log.append([given("anna")], registrar, clock)
    assert {e for _, _, _, e in ConsentLog(log.location).snapshot().events()} == {None}


def test_appending_nothing_changes_nothing(log, registrar, clock) -> None:
    assert log.append([], registrar, clock) == range(2, 2)
    assert log.snapshot().size == 2


def test_rotation_of_the_log_key(staffed, log_key, registrar, clock, vault) -> None:
    """For a while both keys sign; then the old one is revoked and signs no more."""
    log, root = staffed, key_of(Role.ROOT)
    new = SigningKey.from_seed(log_key.name, b"n" * 32)
    log.append([KeyAdded(vkey=new.verifier.vkey, role=Role.LOG)], root, clock)
    both = ConsentLog(log.location, new, vault, outgoing=log_key)
    both.append([given("anna")], registrar, clock)
    for key in (log_key, new):  # whoever knows only one of the keys follows
        assert head_of(both, key).size == 6
    both.append([KeyRevoked(key=log_key.verifier.key_id.hex())], root, clock)
    ConsentLog(log.location, new, vault).append([given("ben")], registrar, clock)
    for key in (log_key, new):
        assert verify_log(log.location, key.verifier, vault).size == 8
    log.append([given("cleo")], registrar, clock)  # the old key alone
    with pytest.raises(LogDamagedError, match="tree head of size 9"):
        verify_log(log.location, log_key.verifier, vault)


def test_a_log_that_only_names_our_key_is_not_ours(staffed, log_key, clock, vault) -> None:
    ours = SigningKey.from_seed(log_key.name, b"o" * 32)
    added = KeyAdded(vkey=ours.verifier.vkey, role=Role.LOG)
    staffed.append([added], key_of(Role.ROOT), clock)
    with pytest.raises(LogDamagedError, match="is this the key of the log"):
        verify_log(staffed.location, ours.verifier, vault)


def test_who_may_not_sign_is_named(log, log_key, registrar, clock, vault) -> None:
    erased = SubjectErased(subject_id="anna", entries=(), ground="GDPR 17(1)(b)")
    log.append([erased], registrar, clock)
    with pytest.raises(LogDamagedError, match=r"entry 2: subject.erased: may be signed by dpo"):
        verify_log(log.location, log_key.verifier, vault)


# --- a second pass ------------------------------------------------------------------------------


@pytest.fixture
def long_log(staffed, registrar, clock):
    for start in range(0, 2500, 500):
        staffed.append([given(f"s{start + i}") for i in range(500)], registrar, clock)
    return staffed


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
    long_log.append([erased], key_of(Role.DPO), clock, forget=long_log.openings_of("s7"))
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
    seen = head_of(long_log, log_key)
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


# --- what the store refuses, and what verification finds ----------------------------------------

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


def spoil(path, statement):
    """Change the file as someone who owns it can: without triggers."""
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    assert db.execute(statement).rowcount
    db.commit()
    db.close()


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


# --- restored backups ---------------------------------------------------------------------------


def test_a_restored_backup_is_never_signed_over(log, log_key, registrar, clock, tmp_path) -> None:
    log.append([given("anna"), given("ben")], registrar, clock)
    shutil.copy(log.location, tmp_path / "backup")
    log.append([withdrawn("ben")], registrar, clock)
    shutil.copy(tmp_path / "backup", log.location)
    with pytest.raises(LogRolledBackError, match=r"4 entries, but one of 5 .* Nothing was signed"):
        log.append([given("cleo")], registrar, clock)
    assert log.snapshot().size == 4


def test_a_backup_that_grew_elsewhere_is_noticed(
    log, log_key, registrar, clock, vault, tmp_path
) -> None:
    log.append([given("anna")], registrar, clock)
    shutil.copytree(log.location.parent, tmp_path / "elsewhere")
    other = ConsentLog(tmp_path / "elsewhere" / "log.sqlite", log_key, vault)
    other.append([given("ben"), given("cleo")], registrar, clock)
    log.append([given("dora")], registrar, clock)
    shutil.copy(other.location, log.location)  # larger than what stood there
    with pytest.raises(LogRolledBackError, match="first 4 entries"):
        log.append([given("eve")], registrar, clock)


def test_a_lost_high_water_mark_stops_the_log(log, registrar, clock) -> None:
    for text in (None, "", "00000000000000000001 zz\n"):
        log.high_water.path.unlink()
        if text is not None:
            log.high_water.path.write_text(text)
        with pytest.raises(LogRolledBackError, match="missing or damaged"):
            log.append([given("anna")], registrar, clock)
        log.high_water.path.touch()


def test_an_existing_log_is_never_made_again(log, log_key, registrar, vault, clock) -> None:
    with pytest.raises(FileExistsError):
        make_log(log.location, log_key, registrar, vault, clock)


def test_there_must_be_a_log(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="omote-consent init"):
        ConsentLog(tmp_path / "none.sqlite").snapshot()
