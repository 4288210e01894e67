"""The 21 questions, answered of a site where everything happens; and the page that shows them."""

import json
from datetime import date, timedelta
from html.parser import HTMLParser

import pytest

from consent.audit.diff import compare_reports
from consent.audit.facts import Facts
from consent.audit.load import load_whatever
from consent.audit.questions import QUESTIONS, answer_all
from consent.audit.report import Outcome, Report, page
from consent.envelope import canonical_json
from consent.errors import MalformedError
from consent.model import Purpose, Role, Span
from consent.site_events import (
    AssetLinked,
    KeyRevoked,
    ModelRemediation,
    PolicyDecided,
    PolicySet,
    ReviewApproved,
)
from tests.consent.audit.site import recording

MODEL = "a" * 64


def answers(facts: Facts) -> dict[int, tuple[Outcome, str]]:
    return {a.number: (a.outcome, a.answer) for a in answer_all(facts).answers}


def test_every_question_is_asked_once() -> None:
    assert sorted(n for n, *_ in QUESTIONS) == list(range(1, 22))


def test_an_empty_log_raises_no_alarm(site) -> None:
    made = answer_all(site.facts())
    assert made.outcome is Outcome.LOOK
    assert {a.number for a in made.answers if a.outcome is Outcome.LOOK} == {1, 15}


def test_withdrawal_takes_effect_in_the_next_round(site) -> None:
    site.add("anna")
    site.add("ben")
    site.train(1)
    site.publish(MODEL, (1,))
    site.registry.withdraw(site.people["ben"])
    site.clock.tick(hours=5)
    site.train(2)
    got = answer_all(site.facts()).answers
    by = {a.number: a for a in got}
    assert by[4].answer == "1 withdrawal; every round signed since leaves these people out."
    assert by[4].table.rows[0][3] == "run-1/2, 5.2 h later: without"
    assert by[9].answer.startswith("1 case (1 withdrawn). By the log, consent was in force")
    assert by[7].outcome is Outcome.LOOK
    assert by[7].table.rows[0][3:] == ("1", "open")
    event = ModelRemediation(model=MODEL, kind="retire", reason="ben left")
    site.registry.append([event], Role.DPO)
    again = {a.number: a for a in answer_all(site.facts()).answers}
    assert (again[7].outcome, again[7].table.rows[0][4]) == (Outcome.GOOD, "retire")


def test_withdrawal_that_was_passed_over_is_a_finding(site) -> None:
    site.add("anna")
    site.add("ben")
    leaves = site.leaves()
    site.registry.withdraw(site.people["ben"])
    site.train(1, leaves=leaves)
    got = answers(site.facts())
    assert got[4] == (Outcome.FINDING, "1 withdrawal; 1 did not take effect.")
    assert got[6][0] is Outcome.FINDING
    assert got[9] == (Outcome.FINDING, "1 case; in 1 round consent was missing.")


def test_what_ends_soon(site) -> None:
    site.add("anna", expires_at=site.clock() + timedelta(days=20))
    site.add("ben", expires_at=site.clock() + timedelta(days=80))
    assert answers(site.facts())[3] == (Outcome.LOOK, "1 grant within 30 days, 2 within 90.")


def test_minors(site) -> None:
    child = site.registry.register("child", adult_from=date(2030, 1, 1))
    guardian = site.registry.register("guardian")
    site.registry.link_guardian(child, guardian, "e" * 64)
    assert answers(site.facts())[12][1] == "1 person registered as minors; 0 must be asked."


def test_keys_stolen(site) -> None:
    (operator,) = site.registry.keys.at_hand(Role.OPERATOR)
    event = KeyRevoked(key=operator.verifier.key_id.hex(), compromised_from=3)
    site.registry.append([event], Role.ROOT)
    got = answers(site.facts())
    assert got[13] == (Outcome.FINDING, "5 keys of roles in this log; 1 of them stolen.")


def test_clock_that_ran_backwards(site) -> None:
    site.clock.tick(hours=-2)
    site.registry.register("anna")
    assert answers(site.facts())[14] == (
        Outcome.LOOK, "The clock stood before the last entry 1 time.",
    )  # fmt: skip


def test_erasures_and_losses(site) -> None:
    site.add("anna")
    site.registry.erase(site.people["anna"], "GDPR 17(1)(b)")
    outcome, text = answers(site.facts())[18]
    assert (outcome, text[:28]) == (Outcome.GOOD, "1 person erased; their entri")
    facts = site.facts()
    facts.state.lost.add(3)
    assert answers(facts)[18][0] is Outcome.FINDING


def test_rules_reviews_and_denials(site) -> None:
    site.registry.append([PolicySet(sha256="5" * 64, names=("eu",))], Role.DPO)
    decided = PolicyDecided(declaration="d" * 64, policy="5" * 64, verdict="review", rules=("x",))
    site.registry.append([decided], Role.DPO)
    assert answers(site.facts())[15][0] is Outcome.FINDING
    site.registry.append([ReviewApproved(declaration="d" * 64)], Role.DPO)
    assert answers(site.facts())[15] == (
        Outcome.GOOD, "1 decision; 1 not allowed at once, 0 waiting.",
    )  # fmt: skip


def test_recordings_overdue_and_faces_unnamed(site) -> None:
    site.add("anna")
    span = Span(first=1, last=5, num_faces=3, subjects=(site.people["anna"],))
    event = AssetLinked(asset=recording("x"), spans=(span,), keep_until=site.clock())
    site.registry.append([event], Role.OPERATOR)
    got = answers(site.facts())
    assert got[10][0] is Outcome.LOOK
    assert got[11][0] is Outcome.LOOK  # no licence, no source
    assert got[17] == (Outcome.FINDING, "1 of 2 recordings overdue, 0 without a time limit.")


def test_publication_that_nobody_agreed_to(site) -> None:
    site.add("anna", Purpose.FINETUNING, Purpose.PUBLICATION)
    site.train(1)
    site.publish(MODEL, (1,))
    assert answers(site.facts())[16][0] is Outcome.GOOD
    site.add("ben")
    site.train(2)
    site.publish("b" * 64, (1, 2))
    assert answers(site.facts())[16][0] is Outcome.LOOK


def test_damaged_log_is_the_only_thing_said(site, clock) -> None:
    import sqlite3

    db = sqlite3.connect(site.registry.folder / "log.sqlite")
    db.execute("DROP TRIGGER entry_UPDATE")
    db.execute("UPDATE entry SET body = CAST(replace(body, 'a', 'b') AS BLOB) WHERE seq = 4")
    db.commit()
    made = answer_all(load_whatever(site.request(), clock))
    assert made.outcome is Outcome.BROKEN
    assert "entry 4" in made.answers[0].answer
    assert "Do not rely on this log" in page(made)


def test_json_comes_back_and_any_change_shows(site) -> None:
    made = answer_all(site.facts())
    data = made.to_json()
    assert Report.from_json(data) == made
    assert canonical_json(json.loads(data)) == data
    with pytest.raises(MalformedError, match="changed after"):
        Report.from_json(data.replace(b"Nobody.", b"Noone.."))
    with pytest.raises(MalformedError, match="expected an audit report"):
        Report.from_json(b'{"a":1}')


def test_since_the_last_audit(site, tmp_path) -> None:
    site.add("anna")
    before = answer_all(site.facts())
    path = tmp_path / "before.json"
    path.write_bytes(before.to_json())
    site.add("ben")
    after = answer_all(site.facts(before=path))
    assert "the log grew by 3 entries" in {a.number: a for a in after.answers}[20].answer
    changes = compare_reports(before, after)
    assert (changes.grown_by, changes.is_shorter) == (3, False)
    assert {2, 20} <= {now.number for _, now in changes.answers}
    path.write_bytes(after.to_json())
    older = answer_all(site.facts(before=path))  # the same log
    assert {a.number: a for a in older.answers}[20].outcome is Outcome.GOOD
    bigger = after.model_copy(update={"log": after.log.model_copy(update={"size": 99})})
    path.write_bytes(bigger.to_json())
    assert answers(site.facts(before=path))[20][0] is Outcome.BROKEN


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.ids: set[str] = set()
        self.refs: set[str] = set()

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        if tag in {"script", "link", "img", "iframe", "object"} or "src" in values:
            self.bad.append(tag)
        self.ids |= {values["id"]} if "id" in values else set()
        self.refs |= {values["href"]} if "href" in values else set()
        self.bad += [a for a in values if a.startswith("on")]


def test_page_has_no_scripts_and_loads_nothing(site) -> None:
    site.add("<script>alert(1)</script>")
    site.train(1, run="run<b>")
    text = page(answer_all(site.facts()))
    parser = Links()
    parser.feed(text)
    assert parser.bad == []
    assert "run&lt;b&gt;/1" in text
    assert all(ref.startswith("#") and ref[1:] in parser.ids for ref in parser.refs)
    assert "url(" not in text
    assert "@import" not in text
