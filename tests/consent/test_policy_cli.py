import json

import pytest
from typer.testing import CliRunner

from consent.commands.policy import app

run = CliRunner()


@pytest.fixture
def declaration(tmp_path):
    path = tmp_path / "use.toml"
    path.write_text(run.invoke(app, ["template"]).output)
    return path


def change(path, **words):
    lines = path.read_text().split("\n")
    for key, value in words.items():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
        lines[at] = f"{key} = {json.dumps(value)}"
    path.write_text("\n".join(lines))


MOOD = {
    "title": "Infer the mood of employees",
    "output_kind": ["emotion"],
    "context": ["workplace"],
    "effect": ["hr"],
    "subject_relation": ["employee"],
    "purposes": ["deployment"],
}
JAPAN = {"subjects": ["JP"], "sites": ["JP"], "deployment": ["JP"]}
ANSWERS = {
    "the template": ({}, 0, "ALLOW"),
    "mood of employees in Germany": (MOOD, 4, "No approval and no consent can lift this."),
    "mood of employees in Japan": (MOOD | JAPAN, 1, "Warning: the same product is prohibited"),
    "a word that no rule knows": ({"purposes": ["tuning"]}, 4, "purposes: no rule knows 'tuning'"),
    "nothing declared": ({"purposes": []}, 2, "declaration: purposes"),
}


@pytest.mark.parametrize(("words", "code", "said"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers_and_exit_codes(declaration, words, code, said) -> None:
    change(declaration, **words)
    answer = run.invoke(app, ["test", str(declaration)])
    assert answer.exit_code == code, answer.output
    assert said in answer.output
    if code != 2:
        assert "no legal advice" in answer.output
        as_json = run.invoke(app, ["test", str(declaration), "--json"])
        verdict = {0: "allow", 1: "review", 4: "deny"}[code]
        assert (json.loads(as_json.output)["verdict"], as_json.exit_code) == (verdict, code)


def test_a_date_can_be_asked_about(declaration) -> None:
    change(declaration, **MOOD)
    early = run.invoke(app, ["test", str(declaration), "--at", "2025-01-31"])
    assert "ProhibitedAISystem" not in early.output  # but nothing permits it either
    assert early.exit_code == 4


def test_a_site_s_own_rules_are_checked_too(declaration, tmp_path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'name = "clinic"\nversion = "1"\ntitle = "Rules of the clinic"\n'
        'effective_from = 2026-01-01T00:00:00Z\nspeaks_for = ["*"]\n'
        '[[rules]]\nid = "clinic:board"\nsource = "by-laws"\nwhy = "The board decides."\n'
        'effective_from = 2026-01-01T00:00:00Z\nverdict = "review"\nwhen = [{}]\n'
    )
    answer = run.invoke(app, ["test", str(declaration), "--also", str(own)])
    assert (answer.exit_code, "The board decides." in answer.output) == (1, True)


def test_rules_can_be_read() -> None:
    shown = run.invoke(app, ["show"]).output
    assert "eu-aiact:ProhibitedAISystem-A5-1-f, final" in shown
    assert "japan-appi-2026 2026-11 (off; --enable it)" in shown
    one = run.invoke(app, ["show", "eu-aiact:ProhibitedAISystem-A5-1-f"]).output
    assert "Unless: effect is medical or safety" in one
    assert "no, nobody can" in one
    assert "posted_notice" in run.invoke(app, ["show", "--evidence"]).output
    assert run.invoke(app, ["show", "no-such-rule"]).exit_code == 2
