import hashlib
import json
import re
from datetime import timedelta

import pytest

from consent.hooks import install_hook
from consent.model import ConsentKind, Purpose, Remedy, Role
from consent.note import parse_tree_head, split_note
from consent.receipts import check_receipt
from consent.site_events import ModelPublished, ModelRemediation, RoundSigned
from consent.state import Status, decide
from consent.subject_events import ConsentGiven, ConsentRefused
from consent.trust import parse_policy
from tests.consent.desk.conftest import ASKED, OUTSIDE_ID, SOME, YES

PDF = b"%PDF-1.7 a signed form"


def scan(data=PDF):
    return {"scan": ("form.pdf", data, "application/pdf")}


def events(registry, kind):
    (person,) = registry.state().subjects.values()
    return [e.event for e in person.history if isinstance(e.event, kind)]


def statuses(registry):
    state = registry.state()
    (subject_id,) = state.subjects
    return {p: decide(state, subject_id, p, registry.now()).status for p in ASKED}


def test_nothing_is_ticked_before_the_person_answers(registrar_at_desk) -> None:
    person = registrar_at_desk.register()
    page = registrar_at_desk.get(f"{person}/ask").text
    radios = re.findall(r'<input type="(?:radio|checkbox)"[^>]*>', page)
    assert len(radios) == 2 * len(ASKED) + 2
    assert not any("checked" in radio for radio in radios)
    assert all("required" in radio for radio in radios)


def test_saying_yes_and_saying_no_look_alike(registrar_at_desk) -> None:
    page = registrar_at_desk.get(f"{registrar_at_desk.register()}/ask").text
    choices = re.findall(r'<label class="(\w+)"><input type="radio" id="answer', page)
    assert choices == ["choice"] * 2 * len(ASKED)


@pytest.mark.parametrize("left_out", ASKED)
def test_a_page_with_one_question_open_is_not_recorded(
    registrar_at_desk, registry, left_out
) -> None:
    person = registrar_at_desk.register()
    size = registry.state().size
    fields = {k: v for k, v in SOME.items() if k != f"answer_{left_out}"}
    page = registrar_at_desk.answer(person, **fields)
    assert page.status_code == 422
    assert page.text.count("Please answer this one") == 1
    assert len(re.findall(r'name="answer_\w+"[^>]*checked', page.text)) == 2  # what was answered
    assert registry.state().size == size
    page = registrar_at_desk.send(f"{person}/ask", **SOME)
    assert page.status_code == 200
    assert registry.state().size == size + 2


def test_each_purpose_gets_its_own_answer_and_an_end(registrar_at_desk, registry, clock) -> None:
    page = registrar_at_desk.answer(registrar_at_desk.register(), **SOME)
    assert "1 January 2027" in page.text
    assert statuses(registry) == {
        Purpose.PRETRAINING: Status.ALLOWED,
        Purpose.FINETUNING: Status.ALLOWED,
        Purpose.EVALUATION: Status.REFUSED,
    }
    clock.tick(days=366)
    assert set(statuses(registry).values()) == {Status.EXPIRED, Status.REFUSED}


def test_refusing_everything_needs_only_the_answers(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    page = registrar_at_desk.answer(person, **dict.fromkeys(YES, "no"))
    assert "/entry/" in page.url.path
    assert set(statuses(registry).values()) == {Status.REFUSED}
    assert not events(registry, ConsentGiven)


def test_the_evidence_is_the_sheet_of_questions_as_shown_and_names_nobody(
    registrar_at_desk, registry
) -> None:
    registrar_at_desk.answer(registrar_at_desk.register(), **SOME)
    (given,) = events(registry, ConsentGiven)
    (sheet,) = (registry.folder / "evidence").iterdir()
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(sheet.read_bytes()).hexdigest() == given.evidence == sheet.stem
    told = json.loads(sheet.read_bytes())
    assert [q["answer"] for q in told["questions"]] == ["agree", "agree", "disagree"]
    assert told["notice"]["sha256"] == given.notice.sha256
    assert given.subject_id not in sheet.read_text()
    assert OUTSIDE_ID not in sheet.read_text()


def test_a_signed_form_is_hashed_and_not_kept(registrar_at_desk, registry) -> None:
    fields = SOME | {"kind": "written_release"}
    registrar_at_desk.answer(registrar_at_desk.register(), files=scan(), **fields)
    (given,) = events(registry, ConsentGiven)
    assert given.kind is ConsentKind.WRITTEN_RELEASE
    assert given.evidence == hashlib.sha256(PDF).hexdigest()
    assert not (registry.folder / "evidence").exists()


@pytest.mark.parametrize(
    ("jurisdiction", "fields", "data", "status"),
    [
        ("DE", {"kind": "written_release"}, None, 422),
        ("DE", {"kind": ""}, None, 422),
        ("DE", {"kind": "expressed"}, None, 400),
        ("DE", {"months": "9999"}, None, 400),
        ("DE", {"answer_finetuning": "maybe"}, None, 400),
        ("DE", {"kind": "written_release"}, b"MZ a program", 400),
        ("US-IL", {}, PDF, 422),
        ("US-IL", {"kind": "written_release"}, PDF, 200),
    ],
)
def test_how_an_answer_was_given_must_fit(
    registrar_at_desk, registry, jurisdiction, fields, data, status
) -> None:
    person = registrar_at_desk.register(jurisdiction=jurisdiction)
    files = None if data is None else scan(data)
    page = registrar_at_desk.answer(person, files=files, **(SOME | fields))
    assert page.status_code == status
    assert len(events(registry, ConsentGiven)) == (status == 200)


def test_a_notice_that_was_replaced_meanwhile_is_shown_before_anything_is_recorded(
    registrar_at_desk, registry
) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.get(f"{person}/ask", params={"notice": "study:en"})
    registry.publish_notice("study", "en", "We do something else.", ASKED, material=True)
    page = registrar_at_desk.send(f"{person}/ask", **SOME)
    assert page.status_code == 422
    assert "We do something else." in page.text
    assert not re.findall(r'name="answer_\w+"[^>]*checked', page.text)
    assert not events(registry, ConsentGiven)


def test_a_double_click_records_once(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.get(f"{person}/ask", params={"notice": "study:en"})
    page = registrar_at_desk.page
    registrar_at_desk.send(f"{person}/ask", **SOME)
    size = registry.state().size
    registrar_at_desk.page = page
    assert registrar_at_desk.send(f"{person}/ask", **SOME).url.path == person
    assert registry.state().size == size


def test_someone_who_has_not_decided_is_not_counted_as_yes(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    page = registrar_at_desk.answer(person, later="yes", answer_pretraining="yes")
    assert "No answer counts as no" in page.text
    assert set(statuses(registry).values()) == {Status.NEVER_GIVEN}


def test_questions_are_asked_in_the_language_of_the_notice(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    page = registrar_at_desk.get(f"{person}/ask", params={"notice": "study:ja"})
    assert '<html lang="ja">' in page.text
    assert "検出器を学習させます。" in page.text
    registrar_at_desk.send(f"{person}/ask", **SOME)
    (given,) = events(registry, ConsentGiven)
    assert given.notice.language == "ja"
    (sheet,) = (registry.folder / "evidence").iterdir()
    assert json.loads(sheet.read_text())["questions"][0]["title"] == "事前学習"


def test_consent_is_withdrawn_in_two_clicks(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    registrar_at_desk.get(person)
    link = re.search(r'href="(/person/[^"]+/withdraw)">Withdraw all<', registrar_at_desk.page.text)
    page = registrar_at_desk.get(link[1])  # first click
    assert "only training again without the person takes the data out" in page.text
    ticked = re.findall(r'name="purpose" value="(\w+)" checked', page.text)
    page = registrar_at_desk.send(link[1], purpose=ticked)  # second click
    assert "It counts from now on." in page.text
    assert statuses(registry) == {
        Purpose.PRETRAINING: Status.WITHDRAWN,
        Purpose.FINETUNING: Status.WITHDRAWN,
        Purpose.EVALUATION: Status.REFUSED,
    }


def test_one_purpose_is_withdrawn_and_the_others_hold(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    registrar_at_desk.get(f"{person}/withdraw", params={"purpose": "finetuning"})
    ticked = re.findall(r'value="(\w+)" checked', registrar_at_desk.page.text)
    assert ticked == ["finetuning"]
    registrar_at_desk.send(f"{person}/withdraw", purpose=ticked)
    assert statuses(registry)[Purpose.PRETRAINING] is Status.ALLOWED
    assert statuses(registry)[Purpose.FINETUNING] is Status.WITHDRAWN


def test_a_withdrawal_lists_the_models_it_came_too_late_for(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    given = registry.state().subjects[registry.find(OUTSIDE_ID)].answers[Purpose.FINETUNING]
    digest = "1" * 64
    for event in (
        RoundSigned(
            run_id="run", round=1, purpose=Purpose.FINETUNING, model_in=digest, update=digest,
            manifest=digest, entries=(given.index,), attestation="",
        ),
        ModelPublished(model="a" * 64, run_id="run", rounds=(1,)),
        ModelPublished(model="b" * 64, run_id="run", rounds=(1,)),
        ModelPublished(model="c" * 64, run_id="another run", rounds=(1,)),
        ModelRemediation(model="b" * 64, kind=Remedy.RETIRE, reason="withdrawn"),
    ):  # fmt: skip
        registry.append([event], Role.OPERATOR)
    registrar_at_desk.get(f"{person}/withdraw")
    page = registrar_at_desk.send(f"{person}/withdraw", purpose=["finetuning"]).text
    told = re.findall(r"<code>([a-c]{16})</code> ([^<]+)<br>", page)
    assert told == [
        ("a" * 16, "Nothing has been decided about it yet."),
        ("b" * 16, "The model is used no more. Copies that were handed out still exist."),
    ]


def test_withdrawal_needs_no_registrars_key(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    (registry.folder / "keys" / f"{Role.REGISTRAR}.key").unlink()
    registrar_at_desk.get(f"{person}/withdraw")
    page = registrar_at_desk.send(f"{person}/withdraw", purpose=["finetuning"])
    assert "/entry/" in page.url.path
    assert statuses(registry)[Purpose.FINETUNING] is Status.WITHDRAWN
    assert registrar_at_desk.answer(person, **SOME).status_code == 500  # consent does need it


def test_a_withdrawal_runs_the_sites_own_program_and_says_when_it_fails(
    registrar_at_desk, registry
) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    install_hook(registry.folder, f"#!/bin/sh\ntouch {registry.folder}/cleaned\n")
    registrar_at_desk.get(f"{person}/withdraw")
    registrar_at_desk.send(f"{person}/withdraw", purpose=["finetuning"])
    assert (registry.folder / "cleaned").exists()
    assert "omote-site purge" not in registrar_at_desk.get("/").text
    install_hook(registry.folder, "#!/bin/sh\nexit 1\n")
    registrar_at_desk.get(f"{person}/withdraw")
    page = registrar_at_desk.send(f"{person}/withdraw", purpose=["pretraining"])
    assert "/entry/" in page.url.path  # the withdrawal holds
    assert "omote-site purge" in registrar_at_desk.get("/").text


def test_consent_is_renewed_with_a_new_end(registrar_at_desk, registry, clock) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **(SOME | {"months": "6"}))
    clock.tick(minutes=10)
    registrar_at_desk.answer(person, **SOME)
    first, second = events(registry, ConsentGiven)
    assert (first.type, second.type) == ("consent.given", "consent.renewed")
    assert second.grants[0].expires_at - first.grants[0].expires_at > timedelta(days=180)
    assert len(events(registry, ConsentRefused)) == 2


def test_a_minor_is_asked_with_a_guardian_and_not_against_their_will(
    registrar_at_desk, registry
) -> None:
    person = registrar_at_desk.register(age="minor", adult_from="2030-04-02")
    minor_id = registry.find(OUTSIDE_ID)
    assert registrar_at_desk.get(f"{person}/ask").url.path == person
    registrar_at_desk.get(f"{person}/guardian")
    own = registrar_at_desk.send(f"{person}/guardian", guardian_id=OUTSIDE_ID, files=scan())
    assert "cannot be their own guardian" in own.text
    registrar_at_desk.send(f"{person}/guardian", guardian_id="G-1", files=scan())
    guardian_id = registry.find("G-1")
    lacking = registrar_at_desk.answer(person, **SOME, guardian=guardian_id)
    assert "whether the minor agrees too" in lacking.text
    registrar_at_desk.answer(person, **SOME, guardian=guardian_id, assent="given")
    given = registry.state().subjects[minor_id].answers[Purpose.FINETUNING].event
    assert (given.guardian_id, given.assent) == (guardian_id, "given")
    assert decide(
        registry.state(), minor_id, Purpose.FINETUNING, registry.now()
    ).status is Status.ALLOWED  # fmt: skip


def test_the_receipt_and_the_confirmation_name_the_entry_and_the_tree_head(
    registrar_at_desk, registry
) -> None:
    page = registrar_at_desk.answer(registrar_at_desk.register(), **SOME)
    head = parse_tree_head(split_note(registry.snapshot().tree_head)[0])
    assert head.root.hex() in page.text
    link = re.search(r'href="(/person/[^"]+/entry/(\d+)/receipt)"', page.text)
    receipt = registrar_at_desk.get(link[1])
    assert receipt.headers["content-security-policy"].startswith("default-src 'none'")
    token = re.search(r'<data id="omote-receipt" lang="en" value="([^"]+)"', receipt.text)[1]
    checked = check_receipt(token, parse_policy(f"log {registry.log_vkey}\nquorum none\n"))
    assert checked.receipt.entry.seq == int(link[2])
    assert isinstance(checked.event, ConsentGiven)


def test_no_page_shows_the_entry_of_someone_else(registrar_at_desk, registry) -> None:
    person, other = registrar_at_desk.register("P-1"), registrar_at_desk.register("P-2")
    page = registrar_at_desk.answer(person, **SOME)
    index = int(page.url.path.rpartition("/")[2])
    assert registrar_at_desk.get(f"{person}/entry/{index - 1}").status_code == 404  # of the other
    assert registrar_at_desk.get(f"{other}/entry/{index}").status_code == 404
    assert registrar_at_desk.get(f"{other}/entry/{index}/receipt").status_code == 404
    for odd in ("-1", "0", "999999", "9" * 30, "x"):
        assert registrar_at_desk.get(f"{other}/entry/{odd}").status_code in (400, 404)


def test_an_erased_person_can_neither_be_asked_nor_seen(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    registrar_at_desk.answer(person, **SOME)
    asking = registrar_at_desk.get(f"{person}/ask")
    registry.erase(registry.find(OUTSIDE_ID), "GDPR 17(1)(b)")
    registrar_at_desk.page = asking
    for page in (registrar_at_desk.send(f"{person}/ask", **SOME), registrar_at_desk.get(person)):
        assert page.url.path == person
        assert "was erased" in page.text
        assert f"{person}/ask" not in page.text
    assert registrar_at_desk.get(f"{person}/ask").url.path == person
