from datetime import timedelta

import pytest
from typer.testing import CliRunner

from consent.commands.policy import app
from consent.errors import DeniedError, RecordError, RoleError
from consent.model import Role
from consent.policy_log import (
    add_evidence,
    log_approval,
    log_decision,
    require_permission,
    set_rules,
    site_rules,
)
from consent.rulebook import Outcome
from tests.consent.test_policy import FATIGUE, LIFT_SCORES, MOOD, SCORES, declare

OWN = """name = "clinic"
version = "1"
title = "Rules of the clinic"
effective_from = 2020-01-01T00:00:00Z
speaks_for = ["*"]
[[rules]]
id = "clinic:board"
source = "by-laws"
why = "The board decides."
effective_from = 2020-01-01T00:00:00Z
verdict = "review"
when = [{}]
"""


def permit(registry, declared) -> None:
    require_permission(registry.state(), declared, site_rules(registry), registry.now())


@pytest.fixture
def rules(registry):
    return set_rules(registry, [], [])


def with_papers(registry, folder, use, *, valid_until=None):
    """Declare a use with every paper that it asks for, each logged."""
    kinds = sorted({e["kind"] for e in use["evidence"]})
    papers = []
    for kind in kinds:
        (folder / kind).write_text(kind)
        event = add_evidence(registry, kind, folder / kind, valid_until)
        papers.append(event.model_dump(exclude={"type"}))
    return declare(**use | {"evidence": papers})


def test_without_rules_nothing_is_permitted(registry) -> None:
    with pytest.raises(DeniedError, match="omote-consent policy set"):
        permit(registry, declare())


def test_an_allowed_use_goes_ahead_once_it_was_logged(registry, rules) -> None:
    with pytest.raises(DeniedError, match="policy decide"):
        permit(registry, declare())
    assert log_decision(registry, declare()).outcome is Outcome.ALLOW
    permit(registry, declare())
    logged = registry.state().decisions[-1].event
    assert (logged.policy, logged.declared) == (rules.digest, declare().body().decode())


def test_a_denied_use_is_logged_and_nobody_can_approve_it(registry, rules, tmp_path) -> None:
    mood = with_papers(registry, tmp_path, MOOD)
    assert log_decision(registry, mood).outcome is Outcome.DENY
    assert registry.state().decisions[-1].event.verdict == "deny"
    for role in (Role.DPO, Role.ROOT):
        with pytest.raises(DeniedError, match="A5-1-f"):
            log_approval(registry, mood, role)
    with pytest.raises(DeniedError, match="A5-1-f"):
        permit(registry, mood)


def test_a_review_waits_for_the_data_protection_officer(registry, rules, tmp_path) -> None:
    fatigue = with_papers(registry, tmp_path, FATIGUE)
    with pytest.raises(DeniedError, match="policy decide"):
        log_approval(registry, fatigue, Role.DPO)
    log_decision(registry, fatigue)
    with pytest.raises(RoleError, match="not by operator"):
        log_approval(registry, fatigue, Role.OPERATOR)
    log_approval(registry, fatigue, Role.ROOT)
    with pytest.raises(DeniedError, match="data-protection officer"):
        permit(registry, fatigue)
    log_approval(registry, fatigue, Role.DPO)
    permit(registry, fatigue)


def test_a_lifted_denial_takes_two_keys(registry, rules, tmp_path) -> None:
    scores = with_papers(registry, tmp_path, SCORES | {"overrides": LIFT_SCORES})
    log_decision(registry, scores)
    log_approval(registry, scores, Role.DPO)
    log_approval(registry, scores, Role.DPO)  # the same key twice is one person
    with pytest.raises(DeniedError, match="approved by 1 of 2"):
        permit(registry, scores)
    log_approval(registry, scores, Role.ROOT)
    permit(registry, scores)


def test_a_new_decision_ends_the_approval_of_the_old(registry, rules, tmp_path) -> None:
    fatigue = with_papers(registry, tmp_path, FATIGUE)
    log_decision(registry, fatigue)
    log_approval(registry, fatigue, Role.DPO)
    permit(registry, fatigue)
    log_decision(registry, fatigue)
    with pytest.raises(DeniedError, match="approved by 0 of 1"):
        permit(registry, fatigue)


def test_new_rules_end_what_was_decided_by_the_old(registry, rules, tmp_path) -> None:
    log_decision(registry, declare())
    (tmp_path / "own.toml").write_text(OWN)
    set_rules(registry, [], [tmp_path / "own.toml"])
    with pytest.raises(DeniedError, match="policy decide"):
        permit(registry, declare())
    assert log_decision(registry, declare()).outcome is Outcome.REVIEW


def test_rule_files_that_were_edited_after_they_were_set(registry, rules, tmp_path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    set_rules(registry, [], [tmp_path / "own.toml"])
    kept = registry.folder / "rules" / "clinic.toml"
    kept.write_text(OWN.replace("review", "allow"))
    with pytest.raises(DeniedError, match="differ from entry"):
        permit(registry, declare())
    kept.unlink()
    with pytest.raises(DeniedError, match="not here"):
        site_rules(registry)


def test_evidence_that_nobody_logged(registry, rules) -> None:
    with pytest.raises(RecordError, match="policy evidence"):
        log_decision(registry, declare(**FATIGUE))


def test_evidence_declared_for_longer_than_the_log_says(registry, rules, tmp_path, clock) -> None:
    fatigue = with_papers(registry, tmp_path, FATIGUE, valid_until=clock() + timedelta(days=30))
    log_decision(registry, fatigue)
    longer = [e.model_copy(update={"valid_until": None}) for e in fatigue.evidence]
    with pytest.raises(RecordError, match="valid until"):
        log_decision(registry, fatigue.model_copy(update={"evidence": tuple(longer)}))
    log_approval(registry, fatigue, Role.DPO)
    permit(registry, fatigue)
    clock.tick(days=30)
    with pytest.raises(DeniedError, match="missing"):
        permit(registry, fatigue)


def test_commands(registry, tmp_path) -> None:
    run, folder = CliRunner(), ["--folder", str(registry.folder)]
    use = tmp_path / "use.toml"
    use.write_text(run.invoke(app, ["template"]).output)
    assert run.invoke(app, ["check", str(use), *folder]).exit_code == 4
    assert "Set: data-terms" in run.invoke(app, ["set", *folder]).output
    decided = run.invoke(app, ["decide", str(use), *folder])
    assert (decided.exit_code, "ALLOW" in decided.output) == (0, True)
    assert run.invoke(app, ["check", str(use), *folder]).exit_code == 0
    approved = run.invoke(app, ["approve", str(use), *folder])
    assert (approved.exit_code, "nothing to approve" in approved.output) == (4, True)
    shown = run.invoke(app, ["evidence", "dpia", str(use), "--valid-until", "2030-01-31", *folder])
    assert "valid_until = 2030-01-31T00:00:00Z" in shown.output
