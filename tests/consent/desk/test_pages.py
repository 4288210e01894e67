import re
from datetime import timedelta

import pytest

from consent.desk.accounts import remove_account
from consent.desk.answers import ASSENTS, KINDS, TERMS
from consent.desk.erase_pages import GROUNDS
from consent.desk.pages import PLACES
from consent.desk.session import IDLE
from consent.desk.texts import load_texts
from consent.model import Purpose, Relation, Remedy
from consent.roles import MAY_SIGN
from consent.state import Status
from tests.consent.conftest import give
from tests.consent.desk.conftest import ACCOUNT, OUTSIDE_ID, PASSWORD, Visitor


def test_signing_in_takes_a_new_cookie_that_scripts_cannot_read(visitor) -> None:
    before = visitor.get("/login").headers["set-cookie"]
    visitor.http.follow_redirects = False
    after = visitor.send("/login", account=ACCOUNT, password=PASSWORD).headers["set-cookie"]
    for cookie in (before, after):
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert before.split(";")[0] != after.split(";")[0]


def test_a_cookie_from_before_signing_in_is_not_signed_in_after(visitor) -> None:
    visitor.get("/login")
    planted = dict(visitor.http.cookies)
    visitor.send("/login", account=ACCOUNT, password=PASSWORD)
    assert visitor.get("/").url.path == "/"
    visitor.http.cookies.clear()
    visitor.http.cookies.update(planted)
    assert visitor.get("/").url.path == "/login"


@pytest.mark.parametrize("account", [ACCOUNT, "nobody"])
def test_a_wrong_password_and_a_wrong_name_look_the_same_and_are_throttled(
    visitor, clock, account
) -> None:
    visitor.get("/login")
    for _ in range(5):
        page = visitor.send("/login", account=account, password="wrong wrong wrong")
        assert page.status_code == 403
        assert "Name and password do not belong together." in page.text
    page = visitor.send("/login", account=account, password=PASSWORD)
    assert (page.status_code, page.headers["retry-after"]) == (429, "1")
    clock.tick(seconds=2)
    page = visitor.send("/login", account=account, password=PASSWORD)
    assert page.url.path == ("/" if account == ACCOUNT else "/login")


def test_an_idle_session_ends_and_signing_out_ends_it_at_the_desk(
    registrar_at_desk, app, clock
) -> None:
    clock.now += IDLE + timedelta(seconds=1)
    page = registrar_at_desk.get("/new")
    assert page.url.path == "/login"
    assert "left alone" in page.text
    registrar_at_desk.send("/login", account=ACCOUNT, password=PASSWORD)
    kept = dict(registrar_at_desk.http.cookies)
    registrar_at_desk.send("/logout")
    thief = Visitor(app)
    thief.http.cookies.update(kept)
    assert thief.get("/").url.path == "/login"


def test_a_removed_account_is_turned_away_at_the_next_click(registrar_at_desk, desk) -> None:
    remove_account(desk.accounts.path, ACCOUNT)
    assert registrar_at_desk.get("/").url.path == "/login"


def test_an_address_of_another_session_leads_nowhere(registrar_at_desk, app) -> None:
    person = registrar_at_desk.register()
    other = Visitor(app)
    other.get("/login")
    other.send("/login", account=ACCOUNT, password=PASSWORD)
    page = other.get(person)
    assert page.status_code == 404
    assert OUTSIDE_ID not in page.text


def test_a_person_is_found_by_outside_id_or_offered_to_be_registered(registrar_at_desk) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.get("/")
    assert registrar_at_desk.send("/find", outside_id=f" {OUTSIDE_ID} ").url.path == person
    registrar_at_desk.get("/")
    missing = registrar_at_desk.send("/find", outside_id='<b>"no such"')
    assert missing.status_code == 404
    assert "&lt;b&gt;" in missing.text
    assert "<b>&" not in missing.text


def test_every_field_that_takes_an_outside_id_is_kept_out_of_the_browsers_memory(
    registrar_at_desk,
) -> None:
    registrar_at_desk.get("/")
    pages = [registrar_at_desk.page.text, registrar_at_desk.get("/new").text]
    registrar_at_desk.get("/")
    pages.append(registrar_at_desk.send("/find", outside_id="nobody").text)
    for page in pages:
        (field,) = re.findall(r'<input id="outside_id"[^>]*>', page)
        assert 'autocomplete="off"' in field


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"relation": ""}, "Please choose one."),
        ({"relation": "owner"}, "Please choose one."),
        ({"jurisdiction": "XX"}, "Please choose one."),
        ({"age": ""}, "Please choose one."),
        ({"age": "minor"}, "the day on which this minor comes of age"),
        ({"age": "minor", "adult_from": "2026-01-01"}, "the day on which this minor comes of age"),
        ({"age": "minor", "adult_from": "soon"}, "the day on which this minor comes of age"),
        ({"outside_id": " "}, "Please type the number."),
    ],
)
def test_a_registration_that_lacks_something_says_what(
    registrar_at_desk, registry, fields, error
) -> None:
    registrar_at_desk.get("/new")
    good = {"outside_id": "P-9", "relation": "patient", "jurisdiction": "JP", "age": "adult"}
    page = registrar_at_desk.send("/new", **(good | fields))
    assert page.status_code == 422
    assert error in page.text
    assert not registry.state().subjects


def test_registering_someone_who_is_known_opens_their_page(registrar_at_desk, registry) -> None:
    assert registrar_at_desk.register() == registrar_at_desk.register(relation="patient")
    (person,) = registry.state().subjects.values()
    assert person.registered.event.relation is Relation.VOLUNTEER


def test_today_counts_and_lists_what_ends_soon_and_what_waits(
    registrar_at_desk, registry, notices, clock
) -> None:
    at = clock.now
    for n, days in enumerate([20, 30, 31, 89, 91, 400]):
        subject = registry.register(f"P-{n}")
        give(registry, subject, notices[0], expires_at=at + timedelta(days=days))
    withdrawn = registry.register("P-w")
    give(registry, withdrawn, notices[0])
    registry.withdraw(withdrawn, [Purpose.FINETUNING])
    page = registrar_at_desk.get("/").text
    assert re.findall(r"<li><b>(\d+)</b>", page) == ["7", "6", "7", "1"]
    assert re.findall(r"<h3>(.+?) <span class=\"quiet\">\((\d+)\)", page) == [
        ("Within 30 days", "2"),
        ("31 to 60 days", "1"),
        ("61 to 90 days", "1"),
    ]
    assert "Nothing waits." in page
    clock.tick(days=20)
    registrar_at_desk.get("/login")
    registrar_at_desk.send("/login", account=ACCOUNT, password=PASSWORD)
    assert "Ended by time" in registrar_at_desk.page.text
    assert re.findall(r"<li><b>(\d+)</b>", registrar_at_desk.page.text) == ["7", "5", "0", "0"]


def test_a_minor_is_shown_with_the_day_of_majority_and_cannot_be_asked_yet(
    registrar_at_desk,
) -> None:
    person = registrar_at_desk.register(age="minor", adult_from="2030-04-02")
    page = registrar_at_desk.get(person).text
    assert "Minor until 2 April 2030" in page
    assert "has no guardian on record" in page
    assert f"{person}/ask" not in page


def test_the_desk_speaks_japanese_when_asked_and_when_the_browser_does(registrar_at_desk) -> None:
    page = registrar_at_desk.get("/", headers={"accept-language": "ja,en;q=0.5"}).text
    assert '<html lang="ja">' in page
    registrar_at_desk.get("/new")
    page = registrar_at_desk.send("/language", to="ja")
    assert page.url.path == "/new"
    assert "新しい方の登録" in page.text


@pytest.mark.parametrize("back", ["//evil.example", "/\\evil.example", "https://evil.example", ""])
def test_choosing_a_language_leads_to_no_other_site(registrar_at_desk, back) -> None:
    registrar_at_desk.http.follow_redirects = False
    page = registrar_at_desk.send("/language", to="ja", back=back)
    assert page.headers["location"] == "/"


def test_every_text_of_the_templates_and_codes_is_there_in_both_languages() -> None:
    texts = load_texts()
    assert texts["en"].keys() == texts["ja"].keys()
    kinds = {"purpose": Purpose, "about": Purpose, "status": Status, "relation": Relation}
    kinds |= {"remedy": Remedy, "kind": KINDS, "assent": ASSENTS, "months": TERMS, "place": PLACES}
    kinds |= {"ground": GROUNDS}
    for name, values in kinds.items():
        assert {f"{name}_{value}" for value in values} <= texts["ja"].keys()
    about_people = [
        k for k in MAY_SIGN if k.startswith(("subject.", "consent.", "guardian.", "age."))
    ]
    assert {"event_" + kind.replace(".", "_") for kind in about_people} <= texts["ja"].keys()
    same = {k for k in texts["en"] if texts["en"][k] == texts["ja"][k]}
    assert not same
