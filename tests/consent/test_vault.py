import hashlib
import itertools
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from consent import private_file
from consent.entry import Opening, Sealed, parse_entry
from consent.errors import KeyFileError, RecordError, VaultError
from consent.events import event_bytes
from consent.keys import VerifierKey
from consent.note import open_tree_head
from consent.registry import Registry
from consent.site_events import LogNote
from consent.site_folder import SiteFolder
from consent.subject_events import SubjectRegistered
from consent.vault import Vault
from consent.verify import verify_log
from tests.consent.conftest import give


@pytest.fixture
def vault(tmp_path):
    return Vault.create(tmp_path / "keystore.sqlite", tmp_path / "kek.key")


def opening(subject="anna"):
    return Opening.of(SubjectRegistered(subject_id=subject))


def test_sealed_and_opened_again(vault, tmp_path) -> None:
    mine, note = opening(), Opening.of(LogNote(text="hello"))
    sealed, of_site = vault.seal(7, mine), vault.seal(8, note)
    assert (sealed.owner, of_site.owner) == ("anna", None)
    assert b"anna" not in sealed.body
    assert b"hello" not in of_site.body
    other = Vault.open(tmp_path / "keystore.sqlite", tmp_path / "kek.key")
    assert (other.unseal(7, sealed), other.unseal(8, of_site)) == (mine, note)
    assert vault.seal(7, mine).body != sealed.body


def test_files_are_their_owners_alone(vault, tmp_path) -> None:
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert modes == {"keystore.sqlite": 0o600, "kek.key": 0o600}
    (tmp_path / "kek.key").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Vault.open(tmp_path / "keystore.sqlite", tmp_path / "kek.key")


# --- case 11: rows are swapped --------------------------------------------------------------------


def swap_entries(anna, ben):
    return (8, anna), (7, ben)


def swap_owners(anna, ben):
    return (7, Sealed("ben", anna.body)), (8, Sealed("anna", ben.body))


def claim_for_the_site(anna, ben):
    return (7, Sealed(None, anna.body)), (8, Sealed(None, ben.body))


def flip_a_bit(anna, ben):
    return [(7, Sealed("anna", anna.body[:-1] + bytes([anna.body[-1] ^ 1])))]


@pytest.mark.parametrize("bend", [swap_entries, swap_owners, claim_for_the_site, flip_a_bit])
def test_sealed_rows_cannot_be_swapped(vault, bend) -> None:
    anna, ben = vault.seal(7, opening("anna")), vault.seal(8, opening("ben"))
    for seq, sealed in bend(anna, ben):
        with pytest.raises(VaultError, match=f"entry {seq}"):
            vault.unseal(seq, sealed)


def test_wrapped_keys_cannot_be_swapped(vault, tmp_path) -> None:
    sealed = vault.seal(7, opening("anna"))
    vault.seal(8, opening("ben"))
    db = sqlite3.connect(tmp_path / "keystore.sqlite")
    anna, ben = (
        db.execute("SELECT wrapped FROM dek WHERE owner = ?", (o,)).fetchone()[0]
        for o in ("anna", "ben")
    )
    db.execute("UPDATE dek SET wrapped = ? WHERE owner = 'anna'", (ben,))
    db.execute("UPDATE dek SET wrapped = ? WHERE owner = 'ben'", (anna,))
    db.commit()
    db.close()
    with pytest.raises(VaultError, match="another person's"):
        Vault.open(tmp_path / "keystore.sqlite", tmp_path / "kek.key").unseal(7, sealed)


# --- case 12: erasure -----------------------------------------------------------------------------


def test_erased_stays_erased_even_with_old_backups(registry, notice, clock, tmp_path) -> None:
    """The old database, the old keystore and the new key file open nothing together."""
    anna, ben = registry.register("staff 1"), registry.register("staff 2")
    entry = give(registry, anna, notice)
    give(registry, ben, notice)
    backup = tmp_path / "backup"
    shutil.copytree(registry.folder, backup)
    head = registry.snapshot().tree_head
    log_key = VerifierKey.parse(registry.log_vkey)

    erased_at = registry.erase(anna, "GDPR 17(1)(b)")

    # The log is what it was and one entry more; nothing is missing that an erasure does not name.
    place = SiteFolder(registry.folder)
    since = [open_tree_head(head, log_key)]
    found = verify_log(place.log, log_key, place.open_vault(), since=since)
    assert (found.size, found.num_erased) == (erased_at + 1, 2)
    again = Registry.open(registry.folder, clock)
    assert again.state() == registry.state()
    assert again.state().find(anna).erased.index == erased_at
    assert (again.find("staff 1"), again.find("staff 2")) == (None, ben)

    # Old database and old keystore, new key file.
    shutil.copy(registry.folder / "keys" / "kek.key", backup / "keys" / "kek.key")
    with pytest.raises(VaultError, match="another epoch"):
        Registry.open(backup, clock)
    # Old database, new keystore and key file: ben can be read, anna cannot.
    shutil.copy(registry.folder / "keystore.sqlite", backup / "keystore.sqlite")
    restored = Registry.open(backup, clock)
    assert restored.find("staff 2") == ben
    assert anna not in restored.state().subjects
    assert entry in restored.state().lost


def test_commitment_of_an_erased_person_cannot_be_guessed(registry, notice) -> None:
    """Whoever knows the event word for word cannot show that it is the one: the salt is gone."""
    anna = registry.register("staff 1")
    index = give(registry, anna, notice)
    event = registry.state().find(anna).history[-1].event
    log = SiteFolder(registry.folder).log
    db = sqlite3.connect(log)
    ((sealed,),) = db.execute("SELECT body FROM opening WHERE seq = ?", (index,)).fetchall()
    db.close()
    assert sealed in log.read_bytes()
    registry.erase(anna, "GDPR 17(1)(b)")
    commit = parse_entry(registry.snapshot().entry(index)).commit
    guesses = [
        hashlib.sha256(event_bytes(event)).hexdigest(),
        Opening(bytes(32), event).commitment(),
    ]
    assert commit not in guesses
    assert sealed not in log.read_bytes()


def test_no_bytes_of_a_destroyed_key_are_left_in_the_files(vault, tmp_path) -> None:
    vault.seal(7, opening("anna"))
    vault.seal(8, opening("ben"))
    db = sqlite3.connect(tmp_path / "keystore.sqlite")
    wrapped = [w for (w,) in db.execute("SELECT wrapped FROM dek")]
    db.close()
    old_kek = (tmp_path / "kek.key").read_bytes()[8:40]
    held = [p.open("rb") for p in sorted(tmp_path.iterdir())]  # as an undelete tool would
    vault.destroy(["anna"])
    left = [f.read() for f in held] + [p.read_bytes() for p in tmp_path.iterdir()]
    for f in held:
        f.close()
    assert len(left) == 4
    for secret in (old_kek, *wrapped):
        assert not any(secret in data for data in left)


def test_another_process_notices_a_new_epoch(vault, tmp_path) -> None:
    other = Vault.open(tmp_path / "keystore.sqlite", tmp_path / "kek.key")
    sealed, kept = vault.seal(7, opening("anna")), vault.seal(8, opening("ben"))
    assert other.unseal(7, sealed) is not None
    vault.destroy(["anna"])
    assert other.unseal(7, sealed) is None
    assert other.unseal(8, kept) is not None
    new = other.seal(9, opening("cleo"))
    assert vault.unseal(9, new) is not None


KILLED_WHILE_ERASING = """
import os, signal, sys
from pathlib import Path
from consent import private_file
from consent.vault import Vault

steps, at = 0, int(sys.argv[2])
def step(event, args):
    global steps
    if event in ("os.rename", "open", "os.truncate", "sqlite3.connect"):
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
folder = Path(sys.argv[1])
vault = Vault.open(folder / "keystore.sqlite", folder / "kek.key")
sys.addaudithook(step)
vault.destroy(["anna"])
"""


def test_killed_at_any_step_of_an_erasure_the_others_can_still_be_read(vault, tmp_path) -> None:
    kept = vault.seal(8, opening("ben"))
    gone = vault.seal(7, opening("anna"))
    for at in itertools.count(1):
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        for name in ("keystore.sqlite", "kek.key"):
            shutil.copy(tmp_path / name, folder / name)
        run = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_ERASING, str(folder), str(at)], check=False
        )
        after = Vault.open(folder / "keystore.sqlite", folder / "kek.key")
        assert after.unseal(8, kept) is not None, f"step {at}"
        after.destroy(["anna"])  # what opening the registry does
        assert after.unseal(7, gone) is None
        assert after.unseal(8, kept) is not None
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    assert at > 8


def test_interrupted_erasure_is_finished_when_the_registry_is_opened(
    registry, notice, clock, monkeypatch
) -> None:
    anna = registry.register("a")
    with monkeypatch.context() as m:
        m.setattr(Vault, "destroy", lambda *_: None)
        registry.erase(anna, "GDPR 17(1)(b)")
    place = SiteFolder(registry.folder)
    assert place.open_vault().held([anna]) == [anna]
    Registry.open(registry.folder, clock)
    assert place.open_vault().held([anna]) == []


# --- finding a person again -----------------------------------------------------------------------


def test_tags_say_nothing_and_differ_between_sites(vault, tmp_path) -> None:
    other = Vault.create(tmp_path / "other.sqlite", tmp_path / "other.key")
    assert vault.tag("0731234") == vault.tag(" 0731234\n") == vault.tag("０７３１２３４")
    assert vault.tag("0731234") != vault.tag("0731235")
    assert vault.tag("0731234") != other.tag("0731234")
    before = vault.tag("0731234")
    vault.destroy(["nobody"])
    assert vault.tag("0731234") == before


def test_erased_person_can_be_kept_from_being_registered_again(registry) -> None:
    free, barred = registry.register("staff 1"), registry.register("staff 2")
    registry.erase(free, "GDPR 17(1)(b)")
    registry.erase(barred, "GDPR 17(1)(b)", suppress=True)
    assert registry.register("staff 1") != free
    with pytest.raises(RecordError, match="not to be registered again") as caught:
        registry.register(" staff  2 ")
    assert "staff" not in str(caught.value)


def test_replaced_file_leaves_nothing_in_the_old_one(tmp_path) -> None:
    path = tmp_path / "secret"
    private_file.write_new(path, b"the old key")
    with path.open("rb") as old:
        private_file.replace(path, b"new")
        assert old.read() == bytes(11)
    assert path.read_bytes() == b"new"
