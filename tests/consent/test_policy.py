import json
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import DeniedError, MalformedError
from consent.policy import CONSENT_GRADES, Declaration, approve, decide_use, parse_declaration
from consent.policy_report import DISCLAIMER, EVIDENCE, explain
from consent.rulebook import (
    VOCABULARY,
    Outcome,
    load_rule_book,
    parse_rule_set,
    set_digest,
    shipped_sets,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
RULES = load_rule_book()
ALL_RULES = [rule for s in shipped_sets() for rule in s.rules]
EVERY_KIND = sorted({kind for rule in ALL_RULES for kind in rule.needs})
ALLOW, REVIEW, DENY = Outcome.ALLOW, Outcome.REVIEW, Outcome.DENY
DIGESTS = Path(__file__).parent / "vectors" / "rule_digests.json"


def papers(*kinds, until=None):
    return [{"kind": kind, "sha256": "0" * 64, "valid_until": until} for kind in kinds]


def declare(where="DE", **changes):
    places = [where] if isinstance(where, str) else where
    value = {
        "title": "a test",
        "jurisdictions": {"subjects": places, "sites": places, "deployment": places},
        "context": ["research"],
        "output_kind": ["au"],
        "effect": ["research"],
        "subject_relation": ["volunteer"],
        "purposes": ["finetuning"],
        "data_terms": ["own_recordings"],
        "consent": "explicit",
        "evidence": [],
    }
    return Declaration.model_validate(value | changes)


def at_work(**changes):
    return {
        "context": ["workplace"],
        "subject_relation": ["employee"],
        "purposes": ["deployment"],
    } | changes


EVERYTHING = papers(*EVERY_KIND)
MOOD = at_work(output_kind=["emotion"], effect=["hr"], evidence=EVERYTHING)
SCORES = at_work(output_kind=["au"], effect=["hr"], evidence=EVERYTHING)
LIFT_SCORES = ["eu-gdpr:A88", "eu-aiact:HighRiskAISystem-AnnexIII-4-b"]
FATIGUE = at_work(output_kind=["physical_state"], effect=["safety"], evidence=EVERYTHING)
ON_THE_LINE = at_work(output_kind=["emotion"], effect=["product"], evidence=EVERYTHING)
PRODUCT_TEST = {
    "context": ["consumer"],
    "effect": ["product"],
    "purposes": ["deployment"],
    "evidence": papers("posted_notice"),
}
CLINIC = {
    "context": ["clinical"],
    "effect": ["medical"],
    "subject_relation": ["patient"],
    "evidence": EVERYTHING,
}
A5F = "eu-aiact:ProhibitedAISystem-A5-1-f"

# The uses that the readers of this project ask about, in the EU and in Japan.
USES = {
    "mood of employees, EU": ("DE", MOOD, DENY, A5F),
    "mood of employees, Japan": ("JP", MOOD, REVIEW, "jp-appi:A19"),
    "mood of employees, no papers yet, Japan": (
        "JP",
        MOOD | {"evidence": []},
        REVIEW,
        "jp-appi:A19",
    ),
    "interviews with applicants, EU": (
        "FR",
        MOOD | {"subject_relation": ["applicant"]},
        DENY,
        A5F,
    ),
    "attention of students, EU": (
        "IT",
        MOOD | {"context": ["education"], "subject_relation": ["student"]},
        DENY,
        A5F,
    ),
    "AU scores for performance, EU": ("DE", SCORES, DENY, "eu-gdpr:A88"),
    "AU scores for performance, asked to lift, all papers, EU": (
        "DE",
        SCORES | {"overrides": LIFT_SCORES},
        REVIEW,
        "eu-gdpr:A88",
    ),
    "AU scores for performance, asked to lift, no papers, EU": (
        "DE",
        SCORES | {"overrides": LIFT_SCORES, "evidence": papers("posted_notice")},
        DENY,
        "eu-gdpr:A88",
    ),
    "AU scores for performance, Japan": ("JP", SCORES, REVIEW, "jp-labour:reasonableness"),
    "fatigue at the production line, EU": ("DE", FATIGUE, REVIEW, "eu-aiact:Recital-18"),
    "fatigue at the production line, Japan": ("JP", FATIGUE, REVIEW, "jp-appi:A22"),
    "fatigue at the production line, no papers yet, EU": (
        "DE",
        FATIGUE | {"evidence": []},
        REVIEW,
        "eu-gdpr:A35",
    ),
    "concentration at the production line, EU": ("DE", ON_THE_LINE, DENY, A5F),
    "concentration at the production line, Japan": ("JP", ON_THE_LINE, REVIEW, "jp-appi:A19"),
    "product test with paid participants, EU": ("DE", PRODUCT_TEST, ALLOW, "eu-gdpr:A13"),
    "product test without a posted notice, EU": (
        "DE",
        PRODUCT_TEST | {"evidence": []},
        DENY,
        "eu-gdpr:A13",
    ),
    "product test without consent, EU": (
        "DE",
        PRODUCT_TEST | {"consent": "none"},
        DENY,
        "eu-gdpr:A9-2-a",
    ),
    "product test with paid participants, Japan": ("JP", PRODUCT_TEST, ALLOW, "jp-appi:A21"),
    "facial palsy in a clinic, EU": ("DE", CLINIC, REVIEW, "eu-gdpr:A9-2-h"),
    "facial palsy in a clinic, Japan": ("JP", CLINIC, REVIEW, "jp-appi:A20-2"),
    "training on volunteers, EU": ("DE", {}, ALLOW, "eu-gdpr:A9-2-a"),
    "training on volunteers, Japan": ("JP", {}, ALLOW, "jp-appi:A17"),
    "training on volunteers, consent not explicit, EU": (
        "DE",
        {"consent": "expressed"},
        DENY,
        "eu-gdpr:A9-2-a",
    ),
    "publication without a statement of use, EU": (
        "DE",
        {"purposes": ["publication"]},
        DENY,
        "omote:use-statement",
    ),
    "publication with a statement of use, EU": (
        "DE",
        {"purposes": ["publication"], "evidence": papers("use_statement")},
        ALLOW,
        "omote:use-statement",
    ),
    "publication without a statement of use, Japan": (
        "JP",
        {"purposes": ["publication"]},
        DENY,
        "omote:use-statement",
    ),
    "training in Illinois with a release and a schedule": (
        "US-IL",
        {"consent": "written_release", "evidence": papers("retention_schedule")},
        ALLOW,
        "us-il-bipa:15-b",
    ),
    "training in Illinois on a mere yes": (
        "US-IL",
        {"evidence": papers("retention_schedule")},
        DENY,
        "us-il-bipa:15-b",
    ),
    "selling in Illinois": (
        "US-IL",
        {"consent": "written_release", "purposes": ["commercial_use"], "evidence": EVERYTHING},
        REVIEW,
        "us-il-bipa:15-c",
    ),
    "research licence, research": (
        "DE",
        {"data_terms": ["DUO:0000018"], "evidence": papers("nonprofit_statement")},
        ALLOW,
        "DUO:0000018",
    ),
    "research licence, commercial use": (
        "DE",
        {
            "data_terms": ["DUO:0000018"],
            "purposes": ["commercial_use"],
            "evidence": papers("nonprofit_statement"),
        },
        DENY,
        "omote:no-rule-permits",
    ),
    "licence that excludes methods research": (
        "DE",
        {"data_terms": ["DUO:0000004", "DUO:0000015"], "evidence": EVERYTHING},
        DENY,
        "DUO:0000015",
    ),
    "scraped faces": ("JP", {"data_terms": ["scraped"]}, DENY, "omote:scraped"),
    "recognising people": ("JP", {"output_kind": ["identity"]}, DENY, "omote:no-identification"),
}


@pytest.mark.parametrize(("where", "changes", "want", "rule"), USES.values(), ids=USES.keys())
def test_use(where, changes, want, rule) -> None:
    verdict = decide_use(declare(where, **changes), RULES, NOW)
    assert verdict.outcome is want, "\n".join(explain(verdict, declare(where, **changes)))
    assert any(f.rule == rule and f.outcome is want for f in verdict.findings)
    assert all(f.source and f.why for f in verdict.findings)


EVASIONS = {
    "purpose synonym": {"purposes": ["fine-tuning"]},
    "purpose in capitals": {"purposes": ["Finetuning"]},
    "purpose with a space": {"purposes": ["finetuning "]},
    "purpose that sounds harmless": {"purposes": ["research"]},
    "one good purpose and one unknown": {"purposes": ["finetuning", "improvement"]},
    "output synonym": {"output_kind": ["engagement"]},
    "letter that looks the same": {"output_kind": ["аu"]},  # Cyrillic
    "effect synonym": {"effect": ["coaching"]},
    "context synonym": {"context": ["office"]},
    "relation unknown": {"subject_relation": ["contractor"]},
    "terms unknown": {"data_terms": ["DUO:0000001"]},
    "consent unknown": {"consent": "implied"},
    "consent as a document": {"consent": "expressed", "evidence": papers("explicit_consent")},
}


@pytest.mark.parametrize("changes", EVASIONS.values(), ids=EVASIONS.keys())
def test_evasion_by_words(changes) -> None:
    assert decide_use(declare(**changes), RULES, NOW).outcome is DENY


@pytest.mark.parametrize("place", ["XX", "US", "US-CA", "de", "EU ", "ZZ-IL", "*", "GB", ""])
def test_evasion_by_an_unknown_jurisdiction(place) -> None:
    if not place:
        with pytest.raises(MalformedError):
            parse_declaration(toml_of(declare()).replace('"DE"', '""'))
        return
    verdict = decide_use(declare(["JP", place]), RULES, NOW)
    assert verdict.outcome is DENY
    assert "omote:unknown-jurisdiction" in {f.rule for f in verdict.findings}


def test_a_country_law_covers_its_parts() -> None:
    assert decide_use(declare("DE-BY"), RULES, NOW).outcome is ALLOW


@pytest.mark.parametrize("relation", VOCABULARY["subject_relation"])
@pytest.mark.parametrize("context", ["workplace", "education"])
@pytest.mark.parametrize("effect", ["hr", "product", "research"])
def test_emotion_at_work_in_the_eu_with_every_possible_approval(relation, context, effect) -> None:
    declared = declare(
        ["JP", "NO"],
        output_kind=["emotion"],
        context=[context],
        effect=[effect],
        subject_relation=[relation],
        consent="written_release",
        evidence=EVERYTHING,
        overrides=[rule.id for rule in ALL_RULES],
    )
    verdict = decide_use(declared, RULES, NOW)
    assert verdict.outcome is DENY
    worst = verdict.findings[0]
    assert (worst.rule, worst.is_final) == (A5F, True)
    assert "No approval and no consent can lift this" in "\n".join(explain(verdict, declared))
    with pytest.raises(DeniedError, match="A5-1-f"):
        approve(declared, RULES, NOW)


@pytest.mark.parametrize("context", ["public", "consumer", "clinical"])
def test_staff_in_a_shop_are_at_work_whatever_the_context_is_called(context) -> None:
    declared = declare(**at_work(output_kind=["emotion"], effect=["product"], context=[context]))
    assert A5F in {f.rule for f in decide_use(declared, RULES, NOW).findings}


BOUNDARIES = {
    "intimate pictures on 1 December 2026": (
        {"output_kind": ["intimate_image"]},
        "2026-12-01T23:59:59+01:00",
        DENY,  # nothing permits it
        "eu-aiact:ProhibitedAISystem-A5-1-ba",
        False,
    ),
    "intimate pictures on 2 December 2026": (
        {"output_kind": ["intimate_image"]},
        "2026-12-02T00:00:00+01:00",
        DENY,
        "eu-aiact:ProhibitedAISystem-A5-1-ba",
        True,
    ),
    "AU scores, lifted without a file of high risk, on 1 December 2027": (
        SCORES
        | {
            "overrides": LIFT_SCORES,
            "evidence": papers("dpia", "legal_basis", "worker_information", "posted_notice"),
        },
        "2027-12-01T23:59:59+01:00",
        REVIEW,
        "eu-aiact:HighRiskAISystem-AnnexIII-4-b",
        False,
    ),
    "AU scores, lifted without a file of high risk, on 2 December 2027": (
        SCORES
        | {
            "overrides": LIFT_SCORES,
            "evidence": papers("dpia", "legal_basis", "worker_information", "posted_notice"),
        },
        "2027-12-02T00:00:00+01:00",
        DENY,
        "eu-aiact:HighRiskAISystem-AnnexIII-4-b",
        True,
    ),
}


@pytest.mark.parametrize(
    ("changes", "at", "want", "rule", "matched"), BOUNDARIES.values(), ids=BOUNDARIES.keys()
)
def test_effective_date(changes, at, want, rule, matched) -> None:
    verdict = decide_use(declare(**changes), RULES, datetime.fromisoformat(at))
    assert verdict.outcome is want
    assert (rule in {f.rule for f in verdict.findings}) is matched


def test_before_any_rule_holds_everything_is_denied() -> None:
    assert decide_use(declare(), RULES, datetime(2000, 1, 1, tzinfo=UTC)).outcome is DENY


def test_a_bill_is_off_unless_asked_for_and_then_waits_for_its_day() -> None:
    asked = load_rule_book(enable=["japan-appi-2026"])
    later = datetime(2028, 5, 1, tzinfo=UTC)
    assert "japan-appi-2026" not in RULES.names
    assert decide_use(declare("JP"), RULES, later).outcome is ALLOW
    assert decide_use(declare("JP"), asked, NOW).outcome is ALLOW
    assert decide_use(declare("JP"), asked, later).outcome is REVIEW


def test_the_most_restrictive_of_several_jurisdictions_wins() -> None:
    assert decide_use(declare("JP", **MOOD), RULES, NOW).outcome is REVIEW
    for where in (["JP", "EU"], ["EU", "JP"]):
        assert decide_use(declare(where, **MOOD), RULES, NOW).outcome is DENY
    spread = declare("JP", **MOOD).model_dump(mode="json")
    spread["jurisdictions"]["deployment"] = ["IS"]  # only the output goes there
    assert decide_use(Declaration.model_validate(spread), RULES, NOW).outcome is DENY


def test_evidence_counts_until_the_instant_it_ends() -> None:
    declared = declare(**PRODUCT_TEST | {"evidence": papers("posted_notice", until=NOW)})
    before = decide_use(declared, RULES, NOW - timedelta(seconds=1))
    verdict = decide_use(declared, RULES, NOW)
    assert (before.outcome, verdict.outcome) == (ALLOW, DENY)
    assert verdict.missing == ("posted_notice",)
    assert "the one given expired on 2026-11-25" in "\n".join(explain(verdict, declared))


def test_review_asks_for_what_is_missing_and_who() -> None:
    declared = declare(**FATIGUE | {"evidence": papers("dpia", "posted_notice")})
    verdict = decide_use(declared, RULES, NOW)
    text = "\n".join(explain(verdict, declared))
    assert verdict.outcome is REVIEW
    assert set(verdict.missing) == {"legal_basis", "output_limits", "retention_schedule"}
    assert "data-protection officer must approve once nothing is missing" in text
    assert DISCLAIMER in text
    with pytest.raises(DeniedError, match="legal_basis"):
        approve(declared, RULES, NOW)


def test_a_lifted_denial_takes_two_people() -> None:
    verdict = decide_use(declare(**SCORES | {"overrides": LIFT_SCORES}), RULES, NOW)
    assert (verdict.outcome, verdict.signers) == (REVIEW, 2)


def test_approval_is_of_one_declaration() -> None:
    declared = declare(**FATIGUE)
    assert approve(declared, RULES, NOW).declaration == declared.digest
    assert declare(**FATIGUE | {"title": "another"}).digest != declared.digest
    with pytest.raises(DeniedError, match="nothing to approve"):
        approve(declare(), RULES, NOW)


def test_a_decision_becomes_an_event() -> None:
    declared = declare(**MOOD)
    event = decide_use(declared, RULES, NOW).event(declared)
    assert (event.verdict, event.declaration, event.policy) == (
        "deny",
        declared.digest,
        RULES.digest,
    )
    assert A5F in event.rules
    assert Declaration.model_validate_json(event.declared) == declared


# --- properties ------------------------------------------------------------------------------

PLACES = st.sampled_from(["DE", "EU", "JP", "US-IL", "NO", "US-CA", "XX"])
FIELDS = {f: st.lists(st.sampled_from(v), min_size=1, max_size=2) for f, v in VOCABULARY.items()}
WHEN = st.integers(0, 5 * 365).map(lambda days: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days))
DECLARATIONS = st.builds(
    lambda places, fields, consent, kinds, overrides: declare(
        places, **fields, consent=consent, evidence=papers(*kinds), overrides=overrides
    ),
    st.lists(PLACES, min_size=1, max_size=3),
    st.fixed_dictionaries(FIELDS),
    st.sampled_from(list(CONSENT_GRADES)),
    st.sets(st.sampled_from(EVERY_KIND)),
    st.sets(st.sampled_from([r.id for r in ALL_RULES if r.overridable])),
)
FULL_BOOK = load_rule_book(enable=["japan-appi-2026"])


def severity(declared, at):
    return decide_use(declared, FULL_BOOK, at).outcome.severity


@given(DECLARATIONS, PLACES, WHEN)
@settings(max_examples=100, deadline=None)
def test_one_more_jurisdiction_never_makes_it_milder(declared, place, at) -> None:
    where = declared.jurisdictions
    more = where.model_copy(update={"subjects": (*where.subjects, place)})
    assert severity(declared.model_copy(update={"jurisdictions": more}), at) >= severity(
        declared, at
    )


@given(DECLARATIONS, WHEN)
@settings(max_examples=100, deadline=None)
def test_less_evidence_never_makes_it_milder(declared, at) -> None:
    had = severity(declared, at)
    for gone in declared.evidence:
        rest = tuple(e for e in declared.evidence if e is not gone)
        assert severity(declared.model_copy(update={"evidence": rest}), at) >= had
    assert severity(declared.model_copy(update={"consent": "none"}), at) >= had


@given(DECLARATIONS, WHEN, st.data())
@settings(max_examples=100, deadline=None)
def test_one_more_word_never_makes_it_milder(declared, at, data) -> None:
    field = data.draw(st.sampled_from(list(VOCABULARY)))
    word = data.draw(st.sampled_from([*VOCABULARY[field], "unknown"]))
    more = declared.model_copy(update={field: (*getattr(declared, field), word)})
    assert severity(more, at) >= severity(declared, at)


@given(DECLARATIONS, WHEN)
@settings(max_examples=100, deadline=None)
def test_the_answer_is_a_function_of_the_question(declared, at) -> None:
    again = Declaration.model_validate_json(json.dumps(json.loads(declared.body())))
    assert decide_use(again, FULL_BOOK, at) == decide_use(declared, FULL_BOOK, at)


# --- rule files ------------------------------------------------------------------------------


def test_a_changed_rule_gets_a_new_version() -> None:
    """If this fails: raise the set's version, then put the new digest into the file."""
    digests = {f"{s.name} {s.version}": set_digest(s) for s in shipped_sets()}
    assert digests == json.loads(DIGESTS.read_text())


def test_digest_is_of_the_meaning_not_of_the_file() -> None:
    text = files("consent").joinpath("rules/japan-appi.toml").read_text("utf-8")
    head, *rules = text.split("[[rules]]")
    shuffled = "# a remark\n" + "\n\n[[rules]]".join([head, *reversed(rules)])
    assert shuffled != text
    assert set_digest(parse_rule_set(shuffled)) == set_digest(parse_rule_set(text))
    softer = text.replace('verdict = "review"', 'verdict = "allow"', 1)
    assert set_digest(parse_rule_set(softer)) != set_digest(parse_rule_set(text))


def test_the_order_of_sets_does_not_change_the_digest() -> None:
    assert load_rule_book().digest == RULES.digest
    assert FULL_BOOK.digest != RULES.digest


def test_prohibitions_of_the_ai_act_cannot_be_lifted() -> None:
    prohibited = [r for r in ALL_RULES if "ProhibitedAISystem" in r.id]
    assert len(prohibited) == 4
    assert all((r.verdict, r.overridable) == (DENY, False) for r in prohibited)


def test_every_kind_of_evidence_has_a_name_in_plain_words() -> None:
    assert set(EVERY_KIND) <= set(EVIDENCE)


BAD_RULES = {
    "unknown field": ('when = [{ output_kind = ["emotion"] }]', 'when = [{ mood = ["x"] }]'),
    "unknown value": ('when = [{ output_kind = ["emotion"] }]', 'when = [{ effect = ["x"] }]'),
    "unknown key": ('verdict = "review"', 'verdict = "review"\nnote = "x"'),
    "denial that does not say whether it can be lifted": (
        'verdict = "review"',
        'verdict = "deny"',
    ),
    "denial that is lifted by nothing": (
        'verdict = "review"',
        'verdict = "deny"\noverridable = true',
    ),
    "no source": ('source = "s"\n', ""),
    "date without a time zone": ("2022-04-01T00:00:00+09:00", "2022-04-01T00:00:00"),
    "not TOML": ("[[rules]]", "[[rules"),
}
GOOD_RULES = """name = "x"
version = "1"
title = "X"
effective_from = 2022-04-01T00:00:00+09:00
speaks_for = ["JP"]
[[rules]]
id = "x:1"
source = "s"
why = "w"
effective_from = 2022-04-01T00:00:00+09:00
verdict = "review"
when = [{ output_kind = ["emotion"] }]
"""


@pytest.mark.parametrize(("old", "new"), BAD_RULES.values(), ids=BAD_RULES.keys())
def test_bad_rule_file_is_refused(old, new) -> None:
    assert parse_rule_set(GOOD_RULES).name == "x"
    assert old in GOOD_RULES
    with pytest.raises(MalformedError):
        parse_rule_set(GOOD_RULES.replace(old, new))


def test_a_site_can_add_rules_and_take_none_away() -> None:
    own = parse_rule_set(GOOD_RULES)
    with_own = load_rule_book(also=[own])
    assert decide_use(declare("JP"), with_own, NOW).outcome is DENY  # it is silent on AUs
    with pytest.raises(MalformedError, match="given twice"):
        load_rule_book(also=[parse_rule_set(GOOD_RULES.replace('"x"', '"eu-ai-act"'))])
    with pytest.raises(MalformedError, match="there are: data-terms"):
        load_rule_book(enable=["no-such-law"])


def toml_of(declared) -> str:
    value = declared.model_dump(mode="json")
    lines = [f"{k} = {json.dumps(v)}" for k, v in value.items() if k not in {"jurisdictions"}]
    places = [f"{k} = {json.dumps(v)}" for k, v in value["jurisdictions"].items()]
    return "\n".join([*lines, "[jurisdictions]", *places])


def test_the_template_is_a_declaration_that_is_allowed() -> None:
    text = files("consent").joinpath("templates/declaration.toml").read_text("utf-8")
    assert decide_use(parse_declaration(text), RULES, NOW).outcome is ALLOW
    for field, words in VOCABULARY.items():
        known = [w for w in words if not w.startswith("DUO:")]
        assert all(word in text for word in known), field
    assert set(tomllib.loads(text)) == set(Declaration.model_fields) - {"evidence"}


@pytest.mark.parametrize("key", ["context", "purposes", "consent", "data_terms"])
def test_nothing_is_assumed_that_was_not_declared(key) -> None:
    lines = toml_of(declare()).split("\n")
    with pytest.raises(MalformedError, match=f"declaration: {key}"):
        parse_declaration("\n".join(line for line in lines if not line.startswith(key)))
