import shutil
from datetime import timedelta

import pytest

from consent import merkle
from consent.entry import parse_entry
from consent.errors import LogDamagedError, LogRolledBackError
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.model import Role
from consent.note import open_tree_head
from consent.site_events import ClockAnomaly, KeyAdded, KeyRevoked, LogNote, SubjectErased
from consent.verify import verify_log
from tests.consent.conftest import given, key_of, make_log, openings_of, withdrawn


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


def test_erased_openings_break_no_proof(staffed, log_key, registrar, clock, vault) -> None:
    log = staffed
    log.append([given("anna"), given("ben"), withdrawn("anna")], registrar, clock)
    before = head_of(log, log_key)
    mine = openings_of(log, "anna")
    assert mine == [4, 6]
    erased = SubjectErased(subject_id="anna", entries=tuple(mine), ground="GDPR 17(1)(b)")
    log.append([erased], key_of(Role.DPO), clock, forget=mine)
    after = verify_log(log.location, log_key.verifier, vault, since=[before])
    assert (after.size, after.num_erased) == (8, 2)
    assert [e for _, _, _, e in log.snapshot().events(4)] == [None, given("ben"), None, erased]
    assert openings_of(log, "anna") == []


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
