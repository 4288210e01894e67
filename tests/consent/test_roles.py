import typing

import pytest

from consent import key_changes
from consent.errors import KeyFileError, RecordError, RoleError
from consent.events import ConsentEvent
from consent.key_changes import add_key, countersign, revoke_key, rotate_key
from consent.keys import SigningKey
from consent.model import Purpose, Role
from consent.note import open_tree_head, split_note
from consent.registry import Registry
from consent.roles import MAY_SIGN
from consent.site_events import KeyAdded, LogNote
from consent.state import Status
from consent.verify import verify_log
from tests.consent.conftest import give
from tests.consent.test_registry import status


def test_every_event_has_signers_and_every_signer_an_event() -> None:
    union = typing.get_args(typing.get_args(ConsentEvent)[0])
    types = {t for e in union for t in typing.get_args(e.model_fields["type"].annotation)}
    assert types == set(MAY_SIGN)


@pytest.fixture
def three_roots(tmp_path, clock):
    return Registry.create(tmp_path / "three", "site-a", clock, num_roots=3)


def take_away(registry, keep):
    """Leave this many root keys in the folder; return those that are somewhere else now."""
    files = sorted(registry.keys.folder.glob("root*.key"))
    taken = [SigningKey.load(f) for f in files[keep:]]
    for file in files[keep:]:
        file.unlink()
    return taken


def test_new_key_holds_once_two_of_three_roots_agreed(three_roots) -> None:
    elsewhere = take_away(three_roots, keep=1)
    change = add_key(three_roots, Role.REGISTRAR)
    assert change.num_missing == 1
    new = SigningKey.load(change.file)
    with pytest.raises(RoleError, match="never added"):
        three_roots.append([LogNote(text="x")], new)
    assert countersign(three_roots, change.entry, elsewhere[0]).num_missing == 0
    three_roots.append([LogNote(text="x")], new)
    assert verify_log(three_roots.folder / "log.sqlite", vkey(three_roots), vault(three_roots))


def vkey(registry):
    from consent.keys import VerifierKey

    return VerifierKey.parse(registry.log_vkey)


def vault(registry):
    from consent.site_folder import SiteFolder

    return SiteFolder(registry.folder).open_vault()


def test_one_root_cannot_agree_twice(three_roots) -> None:
    take_away(three_roots, keep=1)
    change = add_key(three_roots, Role.DPO)
    assert countersign(three_roots, change.entry, Role.ROOT).num_missing == 1
    assert countersign(three_roots, change.entry, Role.DPO).num_missing == 1


def test_without_a_root_key_no_key_changes_and_no_file_is_left(registry) -> None:
    take_away(registry, keep=0)
    before = sorted(registry.keys.folder.iterdir())
    with pytest.raises(KeyFileError, match="bring one"):
        add_key(registry, Role.REGISTRAR)
    assert sorted(registry.keys.folder.iterdir()) == before


def test_rotated_key_takes_over_and_the_old_one_signs_nothing_more(registry, notice) -> None:
    (old,) = registry.keys.at_hand(Role.REGISTRAR)
    added, revoked = rotate_key(registry, Role.REGISTRAR)
    assert (added.num_missing, [r.num_missing for r in revoked]) == (0, [0])
    with pytest.raises(RoleError, match="not valid at this entry"):
        registry.append([LogNote(text="x")], old)
    person = registry.register("a")  # signs with the new key, whose file was found
    give(registry, person, notice)
    assert status(registry, person) is Status.ALLOWED


def test_log_changes_its_own_key_and_still_verifies(registry, notice, clock) -> None:
    first = vkey(registry)
    registry.register("a")
    rotate_key(registry, Role.LOG)
    registry.register("b")
    both = split_note(registry.snapshot().tree_head)[1]
    assert len(both) == 2
    assert open_tree_head(registry.snapshot().tree_head, first).size == registry.state().size
    revoke_key(registry, first.key_id.hex())
    registry.register("c")
    (alone,) = split_note(registry.snapshot().tree_head)[1]
    assert alone[1][:4] != first.key_id
    assert Registry.open(registry.folder, clock).find("b")
    assert verify_log(registry.folder / "log.sqlite", first, vault(registry)).size > 10


def test_one_person_cannot_be_data_protection_officer_and_operator(registry) -> None:
    (operator,) = registry.keys.at_hand(Role.OPERATOR)
    again = KeyAdded(vkey=operator.verifier.vkey, role=Role.DPO)
    with pytest.raises(RoleError, match="one key has one role"):
        registry.append([again], Role.ROOT)


@pytest.mark.parametrize("role", [Role.LOG, Role.DPO, Role.REGISTRAR, Role.OPERATOR])
def test_only_roots_add_keys(registry, role) -> None:
    key = SigningKey.generate("site-a/registrar").verifier
    with pytest.raises(RoleError):
        registry.append([KeyAdded(vkey=key.vkey, role=Role.REGISTRAR)], role)


def test_subject_with_a_key_speaks_for_themselves_and_nobody_else(registry, notice) -> None:
    anna, ben = registry.register("a"), registry.register("b")
    give(registry, anna, notice)
    give(registry, ben, notice)
    key = SigningKey.generate("site-a/subject")
    added = KeyAdded(vkey=key.verifier.vkey, role=Role.SUBJECT, subject_id=anna)
    registry.append([added], Role.REGISTRAR)
    from consent.subject_events import ConsentWithdrawn

    registry.append([ConsentWithdrawn(subject_id=anna, purposes=(Purpose.FINETUNING,))], key)
    assert status(registry, anna) is Status.WITHDRAWN
    with pytest.raises(RoleError, match="that subject alone"):
        registry.append([ConsentWithdrawn(subject_id=ben, purposes=(Purpose.FINETUNING,))], key)


MISSING = {
    "the registrar": ["registrar"],
    "registrar and data-protection officer": ["registrar", "dpo"],
    "everyone but the log": ["registrar", "dpo", "operator", "root"],
}


@pytest.mark.parametrize("gone", MISSING.values(), ids=MISSING.keys())
def test_withdrawal_is_never_blocked_by_a_missing_role(registry, notice, gone, clock) -> None:
    person = registry.register("a")
    give(registry, person, notice)
    for role in gone:
        (registry.keys.folder / f"{role}.key").unlink()
    registry.withdraw(person)
    assert status(registry, person) is Status.WITHDRAWN
    flags = [f.why for f in registry.state().flags]
    assert bool(flags) == ("dpo" in gone)
    assert Registry.open(registry.folder, clock).state().flags == registry.state().flags
    with pytest.raises(KeyFileError, match="registrar"):
        give(registry, person, notice)


def test_withdrawal_after_the_registrars_key_was_revoked(registry, notice) -> None:
    person = registry.register("a")
    give(registry, person, notice)
    (registrar,) = registry.keys.at_hand(Role.REGISTRAR)
    revoke_key(registry, registrar.verifier.key_id.hex())
    registry.withdraw(person)
    assert status(registry, person) is Status.WITHDRAWN


def test_revoking_a_key_that_is_not_there(registry) -> None:
    with pytest.raises(RecordError, match="no key 00000000"):
        revoke_key(registry, "00000000")
    with pytest.raises(RecordError, match="no entry 999"):
        key_changes.countersign(registry, 999, Role.DPO)


def test_verification_finds_consent_that_the_operator_signed(registry, notice) -> None:
    """Someone with the log's key can write past the registry; a verifier is not deceived."""
    from consent.errors import LogDamagedError
    from consent.log import ConsentLog

    person = registry.register("a")
    (log_key,) = registry.keys.at_hand(Role.LOG)
    (operator,) = registry.keys.at_hand(Role.OPERATOR)
    log = ConsentLog(registry.folder / "log.sqlite", log_key, vault(registry))
    from tests.consent.replaying import given

    event = given(subject=person).model_copy(update={"notice": notice})
    (index,) = log.append([event], operator, registry.clock)
    assert status(registry, person) is Status.NEVER_GIVEN
    with pytest.raises(LogDamagedError, match=f"entry {index}: consent.given: may be signed by"):
        verify_log(registry.folder / "log.sqlite", vkey(registry), vault(registry))
