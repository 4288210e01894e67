import csv
import io
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from consent.commands.interchange import app
from consent.errors import MalformedError, RecordError
from consent.intake import plan_import, write
from consent.model import Purpose
from consent.registry import Registry
from consent.state import Status
from consent.table_import import OPTIONAL, REQUIRED, read_csv, read_jsonl
from tests.consent.conftest import EVIDENCE, give

GOOD = {
    "outside_id": "staff-0731234",
    "relation": "volunteer",
    "jurisdiction": "DE",
    "purpose": "finetuning",
    "answer": "given",
    "kind": "explicit",
    "evidence": EVIDENCE,
    "notice": "study",
    "version": "1",
    "language": "en",
}


def row(**changes):
    return GOOD | changes


def table(*rows, columns=REQUIRED + OPTIONAL) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def jsonl(*rows) -> bytes:
    return "\n".join(json.dumps(r) for r in rows).encode()


FOUR = [
    row(),
    row(purpose="pretraining", expires_at="2027-06-30", max_rounds="10", territories="DE FR"),
    row(purpose="publication", answer="refused", kind="", evidence=""),
    row(outside_id="staff-2", relation="employee", kind="written_release"),
]


@pytest.mark.parametrize("write_as", ["csv", "excel", "jsonl"])
def test_a_good_file_is_taken_in(registry, notice, write_as) -> None:
    if write_as == "jsonl":
        found = read_jsonl(jsonl(*[{k: v for k, v in r.items() if v} for r in FOUR]))
    else:  # Excel begins with a byte order mark
        found = read_csv((b"\xef\xbb\xbf" if write_as == "excel" else b"") + table(*FOUR))
    plan = plan_import(registry, found)
    assert (plan.problems, plan.num_people, plan.num_answers) == ((), 2, 4)
    size = registry.state().size
    assert write(registry, plan) == range(size, size + 5)  # 2 people, 2 forms, 1 refusal
    state, person = registry.state(), registry.find("staff-0731234")
    given = state.subjects[person].answers[Purpose.PRETRAINING].event
    assert set(given.purposes) == {Purpose.PRETRAINING, Purpose.FINETUNING}  # one form
    grant = given.grant(Purpose.PRETRAINING)
    assert grant.expires_at == datetime(2027, 6, 30, tzinfo=UTC)
    assert (grant.conditions.max_rounds, grant.conditions.territories) == (10, ("DE", "FR"))
    for purpose, want in (("finetuning", Status.ALLOWED), ("publication", Status.REFUSED)):
        ruling = registry.gate.rule([person], Purpose(purpose))
        assert ruling.decisions[person].status is want


BUNDLES = [
    "finetuning+pretraining",
    "finetuning, publication",
    "all",
    "*",
    "pretraining;evaluation",
]


@pytest.mark.parametrize("tick", BUNDLES)
def test_bundled_consent_in_one_tick_is_refused(registry, notice, tick) -> None:
    plan = plan_import(registry, read_csv(table(row(purpose=tick))))
    assert "consent to none of them" in plan.problems[0].reason
    listed = plan_import(registry, read_jsonl(jsonl(row(purpose=["finetuning", "pretraining"]))))
    assert "consent to none of them" in listed.problems[0].reason


BAD = {
    "purpose unknown": (row(purpose="training"), "purpose: Input should be"),
    "purpose not said": (row(purpose=""), "purpose: Field required"),
    "answer not said": (row(answer=""), "answer: Field required"),
    "answer vague": (row(answer="ok"), "answer: Input should be"),
    "no evidence": (row(evidence=""), "needs kind and evidence"),
    "evidence is not a digest": (row(evidence="scan.pdf"), "evidence: String should match"),
    "kind unknown": (row(kind="implied"), "kind: Input should be"),
    "relation unknown": (row(relation="contractor"), "relation: Input should be"),
    "notice unknown": (row(notice="other"), "was not published here"),
    "notice in another language": (row(language="ja"), "was not published here"),
    "notice in other words": (row(notice_sha256="0" * 64), "other words"),
    "day that is none": (row(expires_at="2027-02-30"), "expires_at:"),
    "time without zone": (row(expires_at="2027-02-03T10:00:00"), "expires_at:"),
    "over already": (row(expires_at="2025-01-01"), "would have expired"),
    "minor": (row(adult_from="2035-01-01"), "a linked guardian must agree"),
    "rounds that are none": (row(max_rounds="0"), "conditions.max_rounds:"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_bad_line_is_named_and_nothing_is_written(registry, notice, bad, reason) -> None:
    size = registry.state().size
    good_before, good_after = row(outside_id="p1"), row(outside_id="p2")
    plan = plan_import(registry, read_csv(table(good_before, bad, good_after)))
    assert [p.line for p in plan.problems] == [3]
    assert reason in plan.problems[0].reason
    with pytest.raises(RecordError, match="nothing was written"):
        write(registry, plan)
    assert registry.state().size == size
    assert registry.find("p1") is None


def test_every_bad_line_is_listed_at_once(registry, notice) -> None:
    rows = [bad for bad, _ in BAD.values()]
    for number, bad in enumerate(rows):
        bad = rows[number] = dict(bad, outside_id=f"person {number}")
    plan = plan_import(registry, read_csv(table(*rows)))
    assert [p.line for p in plan.problems] == list(range(2, 2 + len(rows)))


CONTRADICTIONS = {
    "two answers to one purpose": ([row(), row(answer="refused")], 3, "answered in line 2"),
    "two relations": (
        [row(), row(purpose="evaluation", relation="employee")],
        3,
        "relation differs from line 2",
    ),
}


@pytest.mark.parametrize(
    ("rows", "line", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_lines_that_contradict_each_other(registry, notice, rows, line, reason) -> None:
    plan = plan_import(registry, read_csv(table(*rows)))
    assert plan.problems[0].line == line
    assert reason in plan.problems[0].reason


def test_a_file_is_imported_once(registry, notice) -> None:
    write(registry, plan_import(registry, read_csv(table(*FOUR))))
    again = plan_import(registry, read_csv(table(*FOUR)))
    assert [p.line for p in again.problems] == [2, 3, 4, 5]
    assert all("says the same already" in p.reason for p in again.problems)


def test_a_known_person_keeps_what_is_known_of_them(registry, notice) -> None:
    person = registry.register(GOOD["outside_id"], jurisdiction="FR")
    plan = plan_import(registry, read_csv(table(row())))
    assert "registered with another jurisdiction" in plan.problems[0].reason
    write(registry, plan_import(registry, read_csv(table(row(jurisdiction="FR")))))
    assert registry.find(GOOD["outside_id"]) == person
    assert len(registry.state().subjects) == 1


def test_a_person_who_asked_to_be_forgotten(registry, notice) -> None:
    person = registry.register(GOOD["outside_id"])
    give(registry, person, notice)
    registry.erase(person, "GDPR 17(1)(b)", suppress=True)
    plan = plan_import(registry, read_csv(table(row())))
    assert "asked not to be registered again" in plan.problems[0].reason


def test_reasons_name_no_one(registry, notice) -> None:
    rows = [dict(bad, outside_id="SECRET-NAME") for bad, _ in BAD.values()]
    rows += [row(outside_id="SECRET-NAME", relation="SECRET-VALUE")]
    plan = plan_import(registry, read_csv(table(*rows)))
    assert "SECRET" not in str(plan.problems)
    broken = plan_import(registry, read_jsonl(b'{"outside_id": 12345678.5}\n{"a"\n[1]\n\n'))
    assert [p.line for p in broken.problems] == [1, 2, 3]
    assert "12345678" not in str(broken.problems)


WRONG_FILES = {
    "semicolons": table(row()).replace(b",", b";"),
    "column missing": table({"purpose": "x"}, columns=["purpose"]),
    "column unknown": table(row(), columns=(*REQUIRED, "name")),
    "column twice": table(row()).replace(b"adult_from", b"purpose", 1),
    "empty": b"",
    "Latin-1": table(row()) + "Jürgen".encode("latin-1"),
    "quote not closed": table(row()) + b'"abc',
}


@pytest.mark.parametrize("data", WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_file_that_is_no_such_table(data) -> None:
    with pytest.raises(MalformedError):
        list(read_csv(data))


def test_too_many_cells(registry, notice) -> None:
    plan = plan_import(registry, read_csv(table(row()) + b"a,b\n"))
    assert [(p.line, p.reason) for p in plan.problems] == [(3, "expected 16 cells, got 2")]


def test_lines_are_counted_as_an_editor_does(registry, notice) -> None:
    first = row(outside_id="two\nlines")
    plan = plan_import(registry, read_csv(table(first, row(purpose="x"))))
    assert [p.line for p in plan.problems] == [4]


def test_commands(registry, notice, tmp_path, clock) -> None:
    run, folder = CliRunner(), ["--folder", str(registry.folder)]
    file = tmp_path / "paper.csv"
    file.write_bytes(table(*FOUR, row(outside_id="staff-3", purpose="all")))
    size = registry.state().size
    bad = run.invoke(app, ["import", str(file), *folder])
    assert (bad.exit_code, "paper.csv:6: one tick" in bad.output) == (1, True)
    file.write_bytes(table(*FOUR))
    dry = run.invoke(app, ["import", str(file), "--dry-run", *folder])
    assert (dry.exit_code, "4 answers of 2 people can be taken in" in dry.output) == (0, True)
    assert Registry.open(registry.folder, clock).state().size == size
    done = run.invoke(app, ["import", str(file), *folder])
    assert done.exit_code == 0, done.output
    assert "Took in 4 answers of 2 people" in done.output
    assert run.invoke(app, ["import", str(notice.notice_id), *folder]).exit_code == 2
