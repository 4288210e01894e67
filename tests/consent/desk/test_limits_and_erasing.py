"""What a person may limit, how they are erased, and who was at the desk."""

import re

import pytest
from typer.testing import CliRunner

from consent.cli import app as consent_cli
from consent.model import Conditions, Purpose
from consent.state import Status, decide
from tests.consent.desk.conftest import ACCOUNT, OUTSIDE_ID, SOME

F = Purpose.FINETUNING


def subject_of(registry):
    (subject_id,) = registry.state().subjects
    return subject_id


def standing(registry):
    return decide(registry.state(), subject_of(registry), F, registry.now()).status


# --- limits ------------------------------------------------------------------------------------


def test_limits_hold_for_every_yes_and_are_printed(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    page = registrar_at_desk.answer(
        person, **SOME, max_rounds="3", max_epsilon="0.5", territories="jp, US-IL jp"
    )
    assert page.status_code == 200
    given = registry.state().subjects[subject_of(registry)].answers[F].event
    limits = Conditions(max_rounds=3, max_epsilon="0.5", territories=("JP", "US-IL"))
    assert {g.conditions for g in given.grants} == {limits}
    for text in (page.text, registrar_at_desk.get(person).text):
        assert text.count("at most 3 rounds, epsilon at most 0.5, only in JP, US-IL") == 2
    assert standing(registry) is Status.ELSEWHERE  # this site says of no place that it is its own


def test_without_limits_nothing_is_said_of_any(registrar_at_desk, registry) -> None:
    page = registrar_at_desk.answer(registrar_at_desk.register(), **SOME)
    given = registry.state().subjects[subject_of(registry)].answers[F].event
    assert {g.conditions for g in given.grants} == {Conditions()}
    assert "at most" not in page.text


@pytest.mark.parametrize(
    "limit",
    [
        {"max_rounds": "0"},
        {"max_rounds": "two"},
        {"max_rounds": "-1"},
        {"territories": "Japan"},
        {"max_epsilon": "0"},
        {"max_epsilon": "little"},
        {"max_epsilon": "-1"},
        {"max_epsilon": "inf"},
    ],
)
def test_a_limit_that_cannot_be_read_is_not_left_out_in_silence(
    registrar_at_desk, registry, limit
) -> None:
    page = registrar_at_desk.answer(registrar_at_desk.register(), **SOME, **limit)
    assert page.status_code == 422
    assert f'value="{next(iter(limit.values()))}"' in page.text
    assert standing(registry) is Status.NEVER_GIVEN


# --- erasing -----------------------------------------------------------------------------------

SURE = {"ground": "withdrawn", "sure": "yes"}


def erase(visitor, person, **fields):
    visitor.get(f"{person}/erase")
    return visitor.send(f"{person}/erase", **fields)


def test_a_person_is_erased_and_the_desk_knows_the_number_no_more(
    registrar_at_desk, registry, desk
) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    page = erase(registrar_at_desk, person, **SURE, suppress="yes")
    assert page.url.path == person
    assert "was erased" in page.text
    assert OUTSIDE_ID not in page.text
    assert standing(registry) is Status.ERASED
    erased = registry.state().subjects[subject_of(registry)].erased.event
    assert erased.ground == "GDPR 17(1)(b)"
    assert erased.desk == registry.account_id(ACCOUNT)
    registrar_at_desk.get("/")
    assert registrar_at_desk.send("/find", outside_id=OUTSIDE_ID).status_code == 404
    assert registrar_at_desk.get(f"{person}/erase").url.path == person  # nothing left to erase


@pytest.mark.parametrize("fields", [{"ground": "withdrawn"}, {"sure": "yes"}, {}])
def test_nothing_is_erased_by_half_a_form(registrar_at_desk, registry, fields) -> None:
    person = registrar_at_desk.register()
    page = erase(registrar_at_desk, person, **fields)
    assert page.status_code == 422
    assert "Nothing was erased" in page.text
    assert standing(registry) is Status.NEVER_GIVEN


def test_erasing_takes_the_data_protection_officers_key(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    (registry.folder / "keys" / "dpo.key").unlink()
    page = erase(registrar_at_desk, person, **SURE)
    assert page.status_code == 422
    assert "data-protection officer" in page.text
    assert standing(registry) is Status.NEVER_GIVEN


# --- who was at the desk -----------------------------------------------------------------------


def test_every_entry_of_the_desk_says_which_account_it_was_and_names_nobody(
    registrar_at_desk, registry
) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    registrar_at_desk.get(f"{person}/withdraw")
    registrar_at_desk.send(f"{person}/withdraw", purpose="finetuning")
    me = registry.account_id(ACCOUNT)
    history = registry.state().subjects[subject_of(registry)].history
    assert [e.event.type for e in history] == [
        "subject.registered", "consent.given", "consent.refused", "consent.withdrawn",
    ]  # fmt: skip
    assert {e.event.desk for e in history} == {me}
    assert registry.account_id("someone-else") != me
    assert ACCOUNT not in "".join(e.event.model_dump_json() for e in history)


def test_an_account_is_shown_to_have_recorded_its_entries(
    registrar_at_desk, registry, desk
) -> None:
    registrar_at_desk.answer(registrar_at_desk.register(), **SOME)
    registry.register("by the command line")
    mine = recorded(registry, ACCOUNT)
    first = registry.state().size - 4
    assert [int(n) for n in re.findall(r"^entry +(\d+)", mine, re.M)] == [
        first, first + 1, first + 2,
    ]  # fmt: skip
    assert "no entry" in recorded(registry, "someone-else")


def recorded(registry, name) -> str:
    command = ["desk-user", "recorded", name, "--folder", str(registry.folder)]
    done = CliRunner().invoke(consent_cli, command)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_older_keystore_learns_to_name_accounts(registry) -> None:
    keystore = registry._vault._keystore
    keystore._write(lambda db: db.execute("DELETE FROM dek WHERE owner = '@account'"))
    keystore._keys.pop("@account", None)
    assert re.fullmatch("[0-9a-f]{16}", registry.account_id(ACCOUNT))
    assert registry.account_id(ACCOUNT) == registry.account_id(ACCOUNT)
