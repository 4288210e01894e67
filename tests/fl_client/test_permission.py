"""The declared use is put to the site's rules before every round. Deny by default."""

import hashlib
import logging

import pytest
from typer.testing import CliRunner

from consent.demand import Demand
from consent.model import ConsentKind, Grant, NoticeRef, Purpose, Relation, Role
from consent.policy import parse_declaration
from consent.policy_log import add_evidence, log_approval, set_rules
from consent.registry import Registry
from consent.state import Status
from consent.subject_events import ConsentGiven, SubjectRegistered
from core_model.protocol.messages import RefusalCode
from fl_client.cli import app
from fl_client.errors import RoundRefusedError
from fl_client.permission import HOW_TO_DECLARE
from fl_client.round import run_round
from fl_client.selection import select
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from simulations.sites import NOTICE, now
from tests.federation import write_federation, write_sites


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path)
    coordinator = Coordinator(write_federation(tmp_path, folders))
    return folders["site-a"], coordinator.request("site-a")


def rewrite(folder, old, new):
    use = folder.folder / "use.toml"
    text = use.read_text()
    assert old in text
    use.write_text(text.replace(old, new))


def refusal(folder, request) -> str:
    with pytest.raises(RoundRefusedError) as caught:
        run_round(request, open_site(folder.config))
    assert caught.value.code is RefusalCode.POLICY_DENIED
    return str(caught.value)


def undeclared(folder):
    folder.config.write_text(folder.config.read_text().replace('use = "use.toml"\n', ""))


DENIED = {
    "no use is declared": (undeclared, HOW_TO_DECLARE),
    "the file is gone": (lambda f: (f.folder / "use.toml").unlink(), "cannot be read"),
    "the file is no declaration": (
        lambda f: rewrite(f, 'title = "', 'headline = "'),
        "declaration: title",
    ),
    "another purpose": (
        lambda f: rewrite(f, '["pretraining", "finetuning"]', '["finetuning"]'),
        "does not name the purpose pretraining",
    ),
    "the mood of employees": (
        lambda f: (
            rewrite(f, 'output_kind = ["au"]', 'output_kind = ["emotion"]'),
            rewrite(f, 'context = ["research"]', 'context = ["workplace"]'),
            rewrite(f, '["volunteer"]', '["employee"]'),
        ),
        "denied by eu-aiact:ProhibitedAISystem-A5-1-f",
    ),
    "consent too weak for the law": (
        lambda f: rewrite(f, 'consent = "explicit"', 'consent = "expressed"'),
        "denied by eu-gdpr:A9-2-a",
    ),
    "no consent at all": (
        lambda f: rewrite(f, '"explicit"', '"none"'),
        "denied by eu-gdpr:A9-2-a",
    ),
    "a word that no rule knows": (
        lambda f: rewrite(f, 'effect = ["research"]', 'effect = ["fun"]'),
        "denied by omote:unknown-word",
    ),
    "a place that no rule knows": (
        lambda f: rewrite(f, 'sites = ["EU"]', 'sites = ["ZZ"]'),
        "denied by omote:unknown-jurisdiction",
    ),
}


@pytest.mark.parametrize(("change", "why"), DENIED.values(), ids=DENIED.keys())
def test_a_use_that_is_not_allowed_trains_nothing_and_the_log_says_why(
    setting, change, why
) -> None:
    folder, request = setting
    change(folder)
    assert why in refusal(folder, request)
    state = folder.consent.state()
    assert why in state.discarded[-1].event.reason
    assert str(folder.folder) not in state.discarded[-1].event.reason
    assert not state.started
    if why.startswith("denied by"):
        assert state.decisions[-1].event.verdict == "deny"
        assert why.removeprefix("denied by ") in " ".join(state.decisions[-1].event.rules)


def test_a_site_without_rules_trains_nothing(tmp_path, setting) -> None:
    folder, request = setting
    bare = Registry.create(tmp_path / "bare", "site-a", now, keys=folder.keys)
    text = folder.config.read_text()
    folder.config.write_text(text.replace('"consent"', f'"{bare.folder}"'))
    assert "run: omote-consent policy set" in refusal(folder, request)


def test_a_site_elsewhere_than_declared(tmp_path, setting) -> None:
    folder, request = setting
    Registry.create(tmp_path / "jp", "site-a", now, keys=folder.keys, territory="JP")
    text = folder.config.read_text()
    folder.config.write_text(text.replace('"consent"', f'"{tmp_path / "jp"}"'))
    assert "this site is in JP; the declared use speaks of sites in EU" in refusal(folder, request)


def test_a_decision_is_logged_once_for_as_long_as_it_stands(setting) -> None:
    folder, request = setting
    for _ in range(2):
        run_round(request, open_site(folder.config))
    (decided,) = folder.consent.state().decisions
    assert decided.event.verdict == "allow"
    set_rules(folder.consent, ["japan-appi-2026"], [])
    run_round(request, open_site(folder.config))
    assert len(folder.consent.state().decisions) == 2


def test_a_use_under_review_waits_for_its_approval(setting, tmp_path) -> None:
    folder, request = setting
    rewrite(folder, 'effect = ["research"]', 'effect = ["medical"]')
    assert "missing dpia, ethics_approval" in refusal(folder, request)
    paper, blocks = tmp_path / "paper", ""
    for kind in ("dpia", "ethics_approval", "posted_notice"):
        paper.write_text(kind)
        add_evidence(folder.consent, kind, paper, None)
        digest = hashlib.sha256(kind.encode()).hexdigest()
        blocks += f'\n[[evidence]]\nkind = "{kind}"\nsha256 = "{digest}"\n'
    use = folder.folder / "use.toml"
    use.write_text(use.read_text() + blocks)  # another declaration: decided anew
    assert "run: omote-consent policy approve" in refusal(folder, request)
    assert folder.consent.state().decisions[-1].event.verdict == "review"
    log_approval(folder.consent, parse_declaration(use.read_text()), Role.DPO)
    run_round(request, open_site(folder.config))


PEOPLE = {
    "as declared": (ConsentKind.EXPLICIT, Relation.VOLUNTEER, "EU", Status.ALLOWED),
    "more than declared": (
        ConsentKind.WRITTEN_RELEASE, Relation.VOLUNTEER, "EU", Status.ALLOWED,
    ),
    "a lesser grade": (ConsentKind.EXPRESSED, Relation.VOLUNTEER, "EU", Status.LESSER_GRADE),
    "an employee": (ConsentKind.EXPLICIT, Relation.EMPLOYEE, "EU", Status.UNDECLARED),
    "someone from Illinois": (ConsentKind.EXPLICIT, Relation.VOLUNTEER, "US-IL", Status.UNDECLARED),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "relation", "place", "want"), PEOPLE.values(), ids=PEOPLE.keys())
def test_only_people_of_whom_the_declared_use_speaks(setting, kind, relation, place, want) -> None:
    folder, _ = setting
    registry = folder.consent
    agree(registry, "someone", kind, relation, place)
    demand = Demand.of(parse_declaration((folder.folder / "use.toml").read_text()))
    gate = registry.gate.demanding(demand)
    ruling = gate.rule(["someone"], Purpose.FINETUNING)
    assert ruling.decisions["someone"].status is want
    assert ruling.allowed == ({"someone"} if want is Status.ALLOWED else frozenset())
    assert registry.gate.rule(["someone"], Purpose.FINETUNING).allowed == {"someone"}


def agree(registry, subject_id, kind, relation=Relation.VOLUNTEER, place="EU"):
    (texts,) = registry.state().notices["simulation"].versions.values()
    notice: NoticeRef = texts["en"].event.notice
    assert texts["en"].event.text == NOTICE
    grants = tuple(Grant(purpose=p) for p in (Purpose.PRETRAINING, Purpose.FINETUNING))
    given = ConsentGiven(
        subject_id=subject_id, grants=grants, notice=notice, kind=kind, evidence="0" * 64
    )
    events = [given]
    if subject_id not in registry.state().subjects:
        new = SubjectRegistered(subject_id=subject_id, relation=relation, jurisdiction=place)
        events.insert(0, new)
    registry.append(events, Role.REGISTRAR)


def test_frames_of_a_person_of_a_lesser_grade_are_not_used(setting) -> None:
    folder, request = setting
    agree(folder.consent, "site-a-p1", ConsentKind.EXPRESSED)
    run_round(request, open_site(folder.config))
    state = folder.consent.state()
    used = set(state.rounds[-1].event.entries)
    assert used == {
        state.subjects[s].answers[Purpose.PRETRAINING].index for s in ("site-a-p0", "site-a-p2")
    }
    assert len(select(open_site(folder.config).recordings, folder.consent.gate, request.plan, 1)
               .recordings) == 3  # fmt: skip


def test_consent_of_a_lesser_grade_given_meanwhile_voids_the_round(setting, monkeypatch) -> None:
    folder, request = setting
    from fl_client import round as site_round

    real = site_round.train

    def train(*args):
        agree(folder.consent, "site-a-p1", ConsentKind.EXPRESSED)
        return real(*args)

    monkeypatch.setattr(site_round, "train", train)
    with pytest.raises(RoundRefusedError) as caught:
        run_round(request, open_site(folder.config))
    assert caught.value.code is RefusalCode.CONSENT_CHANGED


def test_refusals_name_nobody(setting, caplog) -> None:
    folder, request = setting
    undeclared(folder)
    with caplog.at_level(logging.DEBUG):
        refusal(folder, request)
    assert "site-a-p" not in caplog.text


def test_check_tells_the_operator_what_to_do(setting) -> None:
    folder, _ = setting
    run = CliRunner()
    good = run.invoke(app, ["check", str(folder.config)])
    assert good.exit_code == 0
    assert "ok       declared use: allow" in good.output
    agree(folder.consent, "site-a-p1", ConsentKind.EXPRESSED)
    assert "consent to finetuning: 2 of 3" in run.invoke(app, ["check", str(folder.config)]).output
    undeclared(folder)
    bad = run.invoke(app, ["check", str(folder.config)])
    assert bad.exit_code == 1
    assert "omote-consent policy template > use.toml" in bad.output
