import csv
import io

import pytest

from consent.audit.exports import (
    OPEN,
    impact_assessment,
    records_of_processing,
    subject_access,
    subject_access_page,
)
from consent.model import NoticeTerms, Party, Purpose

CLINIC = Party(name="Clinic", address="1 Street", contact="dpo@clinic.example")


@pytest.fixture
def told(site):
    terms = NoticeTerms(
        controllers=(CLINIC,), storage_locations=("DE",), retention="P2Y",
        withdrawal_method="at the desk",
    )  # fmt: skip
    site.notice = site.registry.publish_notice(
        "terms", "en", "All of it.", list(Purpose), terms=terms
    )
    site.add("anna")
    site.add("ben", Purpose.FINETUNING, Purpose.PUBLICATION)
    site.train(1)
    site.publish("a" * 64, (1,))
    site.registry.withdraw(site.people["ben"])
    return site


def test_record_of_processing_has_a_row_for_each_purpose(told) -> None:
    rows = list(csv.DictReader(io.StringIO(records_of_processing(told.facts()))))
    everything = [p.value.replace("_", " ") for p in Purpose]
    assert [r["Purpose (Art. 30(1)(b))"] for r in rows] == everything  # a withdrawal names all
    fine = next(r for r in rows if r["Purpose (Art. 30(1)(b))"] == "finetuning")
    assert fine["Time limits for erasure (Art. 30(1)(f))"] == "P2Y"
    assert fine["Categories of people (Art. 30(1)(c))"] == "2 volunteer"
    assert (fine["People today"], fine["Rounds so far"]) == ("1", "1")
    assert fine["DPIA"] == OPEN  # nobody filed one


def test_no_cell_is_a_formula(told) -> None:
    told.registry.publish_notice(
        "evil", "en", "x", [Purpose.FINETUNING],
        terms=NoticeTerms(
            controllers=(Party(name="=HYPERLINK(1)", address="a", contact="b"),),
            storage_locations=("DE",), retention="P1Y", withdrawal_method="x",
        ),
    )  # fmt: skip
    for row in csv.reader(io.StringIO(records_of_processing(told.facts()))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)


def test_impact_assessment_leaves_judgement_open(told) -> None:
    text = impact_assessment(told.facts())
    assert text.count('class="open"') == 6
    assert "none: no noise is added" in text
    for claim in ("acceptable risk", "risk is acceptable.", "risks are low"):
        assert claim not in text.replace("whether a risk is acceptable.", "")


def test_subject_access_tells_everything_about_one_person_and_nothing_of_others(told) -> None:
    facts = told.facts()
    anna, ben = told.people["anna"], told.people["ben"]
    got = subject_access(facts, ben)
    assert got["standing"]["finetuning"].startswith("withdrawn at entry")
    assert [line["type"] for line in got["history"]] == [
        "subject.registered", "consent.given", "consent.withdrawn",
    ]  # fmt: skip
    assert [r["round"] for r in got["rounds"]] == ["run-1/1"]
    assert got["models"]["a" * 64]["answer"] == "used"
    assert list(got["notices"].values()) == ["All of it."]
    assert len(got["recordings"]) == 1
    page = subject_access_page(facts, ben)
    assert anna not in page + str(got)
    assert "All of it." in page
    assert "dpo@clinic.example" in page


def test_subject_access_after_erasure(told) -> None:
    told.registry.erase(told.people["ben"], "GDPR 17(1)(b)")
    facts = told.facts()
    got = subject_access(facts, told.people["ben"])
    assert set(got) == {"subject_id", "erased"}
    assert "was made unreadable" in subject_access_page(facts, told.people["ben"])
