"""Records leave one site and arrive at another: DPV-27560 and Kantara."""

import json
import uuid

import pytest
from typer.testing import CliRunner

from consent.commands.interchange import app
from consent.dpv import SCHEMA, export_records, subject_records
from consent.dpv_import import read_records
from consent.errors import MalformedError, RecordError
from consent.intake import plan_import, write
from consent.kantara import export_receipt, read_receipt
from consent.model import ConsentKind, Grant, NoticeTerms, Party, Purpose, Relation
from consent.registry import Registry
from tests.consent.conftest import EVIDENCE, Clock, give

ORIGIN = "site-a/consent-log"
TERMS = NoticeTerms(
    controllers=(Party(name="Clinic", address="Weg 1, Berlin", contact="dpo@clinic.example"),),
    storage_locations=("DE",),
    retention="P3Y",
    withdrawal_method="desk of the clinic, or dpo@clinic.example",
    authority=Party(name="BlnBDI", address="Berlin", contact="mail", kind="authority"),
)
MANDATORY = (  # ISO/IEC TS 27560, in a record of profile record-eu-gdpr
    "dct:conformsTo",
    "dct:identifier",
    "dpv:hasDataSubject",
    "dpv:hasNotice",
    "dpv:hasDataController",
    "dpv:hasJurisdiction",
    "dpv:hasConsentControl",
    "dpv:hasLegalBasis",
    "dpv:hasRight",
    "dpv:hasAuthority",
    "dpv:hasConsentStatus",
)


def site(folder, name):
    registry = Registry.create(folder, name, Clock(), territory="DE")
    notice = registry.publish_notice("study", "en", "We train.", list(Purpose), terms=TERMS)
    return registry, notice


@pytest.fixture
def here(tmp_path):
    return site(tmp_path / "here", "site-a")


@pytest.fixture
def there(tmp_path):
    return site(tmp_path / "there", "site-b")


def arrive(registry, value):
    return plan_import(registry, read_records(json.dumps(value).encode()))


def test_a_record_holds_what_ts_27560_asks_for(here) -> None:
    registry, notice = here
    person = registry.register("p", jurisdiction="DE")
    give(registry, person, notice)
    (record,) = subject_records(registry.state(), person, ORIGIN)
    assert [field for field in MANDATORY if field not in record] == []
    assert record["dct:conformsTo"] == SCHEMA + "record-eu-gdpr"
    assert record["dpv:hasLegalBasis"] == "eu-gdpr:A9-2-a"
    process = record["dpv:hasProcess"]
    assert process["dpv:hasPurpose"]["skos:broader"] == "dpv:ResearchAndDevelopment"
    assert {"dpv:hasPersonalData", "dpv:hasRecipient", "dpv:hasStorageCondition"} <= set(process)
    (status,) = record["dpv:hasConsentStatus"]
    assert status["@type"] == ["dpv:ConsentGiven", "dpv:ExplicitlyExpressedConsent"]
    fields = {"dpv:isIndicatedAtTime", "dpv:hasDuration", "dpv:isIndicatedBy"}
    assert fields <= set(status)
    assert uuid.UUID(record["dct:identifier"])


def test_a_record_outside_the_eu_claims_no_gdpr(here) -> None:
    registry, notice = here
    person = registry.register("p", jurisdiction="JP")
    give(registry, person, notice)
    (record,) = subject_records(registry.state(), person, ORIGIN)
    assert record["dct:conformsTo"] == SCHEMA + "record"
    assert record["dpv:hasLegalBasis"] == "dpv:ExplicitlyExpressedConsent"
    assert "gdpr" not in json.dumps(record).replace("record-eu-gdpr", "")


def test_without_terms_no_profile_is_claimed(registry, notice) -> None:
    person = registry.register("p")
    give(registry, person, notice)
    assert "dct:conformsTo" not in subject_records(registry.state(), person, ORIGIN)[0]
    exported = CliRunner().invoke(app, ["export", "--folder", str(registry.folder)])
    assert exported.exit_code == 1
    assert "claim no profile" in exported.output


def test_history_is_told_in_order(here) -> None:
    registry, notice = here
    person = registry.register("p")
    registry.request(person, [Purpose.FINETUNING], notice)
    give(registry, person, notice)
    registry.withdraw(person, [Purpose.FINETUNING])
    (record,) = subject_records(registry.state(), person, ORIGIN)
    assert [s["@type"][0] for s in record["dpv:hasConsentStatus"]] == [
        "dpv:ConsentRequested",
        "dpv:ConsentGiven",
        "dpv:ConsentWithdrawn",
    ]


def people(registry, notice):
    """Four people whose records differ in all that a record can say."""
    first = registry.register("one", Relation.EMPLOYEE, "DE")
    grants = [
        Grant(purpose="pretraining", expires_at="2027-06-30T00:00:00Z"),
        Grant(
            purpose="finetuning",
            conditions={"max_rounds": 10, "max_epsilon": "2.5", "territories": ["DE", "US-IL"]},
        ),
    ]
    registry.give(first, grants, notice, ConsentKind.WRITTEN_RELEASE, EVIDENCE)
    registry.refuse(first, [Purpose.PUBLICATION], notice)
    second = registry.register("two", Relation.PATIENT, "JP")
    give(registry, second, notice)
    registry.clock.tick(days=1)
    registry.withdraw(second, [Purpose.FINETUNING])
    third = registry.register("three", Relation.STUDENT, "FR")
    give(registry, third, notice, Purpose.EVALUATION)
    return [first, second, third]


def test_limits_are_in_the_record(here) -> None:
    registry, notice = here
    records = subject_records(registry.state(), people(registry, notice)[0], ORIGIN)
    by_purpose = {r["dpv:hasProcess"]["dpv:hasPurpose"]["@id"]: r for r in records}
    (pretraining,) = by_purpose["omote:pretraining"]["dpv:hasConsentStatus"]
    (finetuning,) = by_purpose["omote:finetuning"]["dpv:hasConsentStatus"]
    until = {"@type": "dpv:UntilTimeDuration", "rdf:value": "2027-06-30T00:00:00+00:00"}
    rounds = {"@type": "dpv:FixedOccurrencesDuration", "rdf:value": 10}
    assert pretraining["dpv:hasDuration"] == [until]
    assert finetuning["dpv:hasDuration"] == [rounds]
    assert finetuning["omote:maxEpsilon"] == "2.5"
    assert "omote:WrittenRelease" in finetuning["@type"]
    places = by_purpose["omote:finetuning"]["dpv:hasProcess"]["dpv:hasLocation"]
    assert places == ["loc:DE", "loc:US-IL"]


def essence(record):
    """What must survive the journey: all but ids, times and places in the log."""
    last = record["dpv:hasConsentStatus"][-1]
    kept = {k: v for k, v in record.items() if k not in ("@id", "dct:identifier")}
    kept["dpv:hasDataSubject"] = record["dpv:hasDataSubject"]["@type"]
    status = {k: v for k, v in last.items() if k not in ("dpv:isIndicatedAtTime", "omote:entry")}
    return json.dumps(kept | {"dpv:hasConsentStatus": status}, sort_keys=True)


def test_records_survive_the_journey(here, there) -> None:
    registry, notice = here
    sent = export_records(registry.state(), people(registry, notice), ORIGIN)
    other, _ = there
    plan = arrive(other, sent)
    assert plan.problems == ()
    write(other, plan)
    back = export_records(other.state(), list(other.state().subjects), "site-b/consent-log")
    sent_essence = sorted(essence(r) for r in sent["@graph"])
    back_essence = sorted(essence(r) for r in back["@graph"])
    # A withdrawal arrives as a refusal: the other site was never agreed with.
    as_refused = [
        e for e in sent_essence if "dpv:ConsentWithdrawn" not in e and "dpv:ConsentRefused" not in e
    ]
    assert [e for e in back_essence if "dpv:ConsentRefused" not in e] == as_refused
    assert sum("dpv:ConsentRefused" in e for e in back_essence) == 2
    assert all("dpv:ConsentRefused" in e or "dpv:ConsentGiven" in e for e in back_essence)


def change(path, value):
    def apply(document) -> None:
        *parents, last = path
        part = document["@graph"][0]
        for key in parents:
            part = part[key]
        part[last] = value

    return apply


TAMPERED = {
    "other words": change(["dpv:hasNotice", "omote:sha256"], "0" * 64),
    "two purposes in one": change(
        ["dpv:hasProcess", "dpv:hasPurpose"], ["omote:pretraining", "omote:finetuning"]
    ),
    "foreign purpose": change(["dpv:hasProcess", "dpv:hasPurpose"], "dpv:Marketing"),
    "implied consent": change(
        ["dpv:hasConsentStatus", 0, "@type"], ["dpv:ConsentGiven", "dpv:ImpliedConsent"]
    ),
    "implied and explicit at once": change(
        ["dpv:hasConsentStatus", 0, "@type"],
        ["dpv:ConsentGiven", "dpv:ImpliedConsent", "dpv:ExplicitlyExpressedConsent"],
    ),
    "only requested": change(["dpv:hasConsentStatus", 0, "@type"], ["dpv:ConsentRequested"]),
    "expired": change(["dpv:hasConsentStatus", 0, "@type"], ["dpv:ConsentExpired"]),
    "given and withdrawn at once": change(
        ["dpv:hasConsentStatus", 0, "@type"], ["dpv:ConsentGiven", "dpv:ConsentWithdrawn"]
    ),
    "duration that is not understood": change(
        ["dpv:hasConsentStatus", 0, "dpv:hasDuration"],
        [{"@type": "dpv:UntilEventDuration", "rdf:value": "end of study"}],
    ),
    "no evidence": change(["dpv:hasConsentStatus", 0, "dpv:hasIndicationMethod"], "a click"),
    "no status": change(["dpv:hasConsentStatus"], []),
    "another type": change(["@type"], "dpv:ConsentReceipt"),
    "person without id": change(["dpv:hasDataSubject"], "someone"),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_record_that_says_something_else_is_not_taken_in(here, there, tamper) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice)
    sent = json.loads(json.dumps(export_records(registry.state(), [person], ORIGIN)))
    assert arrive(there[0], sent).problems == ()
    tamper(sent)
    (problem,) = arrive(there[0], sent).problems
    assert problem.line == 1


@pytest.mark.parametrize(
    "context", [{"dpv": "https://evil.example#"}, {"x": "https://x#"}, "https://remote", None]
)
def test_another_context_is_refused(there, context) -> None:
    with pytest.raises(MalformedError, match=r"context"):
        arrive(there[0], {"@context": context, "@graph": []})


def test_an_erased_person_has_no_record(here) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice)
    registry.erase(person, "GDPR 17(1)(b)")
    with pytest.raises(RecordError, match="erased"):
        export_records(registry.state(), [person], ORIGIN)


# --- Kantara ---------------------------------------------------------------------------------


def kantara(registry, person):
    return export_receipt(registry.state(), person, "site-a", registry.log_vkey, registry.now())


def test_kantara_receipt_goes_out_and_comes_in(here, there) -> None:
    registry, notice = here
    person = registry.register("p", jurisdiction="DE")
    give(registry, person, notice, *list(Purpose)[:2], expires_at="2027-06-30T00:00:00Z")
    receipt = kantara(registry, person)
    assert receipt["version"] == "KI-CR-v1.1.0"
    assert receipt["piiControllers"][0]["piiController"] == "Clinic"
    data = json.dumps(receipt).encode()
    other = there[0]
    write(other, plan_import(other, read_receipt(data, Relation.VOLUNTEER, None)))
    arrived = other.state().subjects[other.find(person)].answers[Purpose.PRETRAINING].event
    assert arrived.kind is ConsentKind.EXPRESSED  # an opt-in is not explicit consent
    assert arrived.grants[0].expires_at.isoformat() == "2027-06-30T00:00:00+00:00"


def test_limits_that_kantara_cannot_say_are_not_lost(here, there) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice, conditions={"max_rounds": 3})
    data = json.dumps(kantara(registry, person)).encode()
    assert b"max_rounds 3" in data
    plan = plan_import(there[0], read_receipt(data, Relation.VOLUNTEER, None))
    assert [p.line for p in plan.problems] == [1]


FOREIGN = {
    "implicit": ({"consentType": "IMPLICIT"}, "not EXPLICIT"),
    "foreign purpose": ({"purpose": "To market services"}, "consent to none of them"),
    "bundle": ({"purpose": "pretraining, finetuning"}, "consent to none of them"),
    "vague end": ({"termination": "Subscription end date + 1 year"}, "expires_at"),
    "no end": ({"termination": None}, "termination"),
}


@pytest.mark.parametrize(("words", "reason"), FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_receipts(here, there, words, reason) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice)
    receipt = kantara(registry, person)
    receipt["services"][0]["purposes"][0] |= words
    data = json.dumps(receipt).encode()
    plan = plan_import(there[0], read_receipt(data, Relation.VOLUNTEER, None))
    assert reason in plan.problems[0].reason


def test_a_receipt_that_names_no_notice(here, there) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice)
    data = json.dumps(kantara(registry, person) | {"policyUrl": "https://a.example"}).encode()
    with pytest.raises(MalformedError, match="--notice"):
        list(read_receipt(data, Relation.VOLUNTEER, None))
    shown = ("study", 1, "en")
    assert plan_import(there[0], read_receipt(data, Relation.VOLUNTEER, shown)).problems == ()


def test_nothing_given_is_no_kantara_receipt(here) -> None:
    registry, _ = here
    person = registry.register("p")
    with pytest.raises(RecordError, match="agrees to nothing"):
        kantara(registry, person)


def test_commands(here, there, tmp_path) -> None:
    registry, notice = here
    person = registry.register("p")
    give(registry, person, notice)
    run = CliRunner()
    for form, name in (("27560", "records.jsonld"), ("kantara", "receipt.json")):
        file = str(tmp_path / name)
        args = ["export", person, "--format", form, "-o", file, "--folder", str(registry.folder)]
        written = run.invoke(app, args)
        assert written.exit_code == 0, written.output
        into = ["--format", form, "--relation", "volunteer", "--dry-run"]
        read = run.invoke(app, ["import", file, *into, "--folder", str(there[0].folder)])
        assert (read.exit_code, "1 answers of 1 people" in read.output) == (0, True), read.output
