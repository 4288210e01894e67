"""A pilot's report over a real site, a real run and a table of decisions."""

import json

import pytest
from typer.testing import CliRunner

from consent.model import Grant, NoticeRef, Purpose, Role
from consent.subject_events import ConsentGiven
from core_model.evaluation import partitions
from fl_client.cli import app
from fl_client.site import open_site
from simulations.sites import NOTICE
from tests.fl_client.pilot import train, write_pilot

run = CliRunner()
PEOPLE = 8
COSTS = "\n[costs]\nfixed = 100.0\nper_subject = 10.0\nframes_per_second = 0.1\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("pilot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(partitions.PARTITIONS, "mine", {"P1": frozenset({"clinic-p0", "clinic-p1"})})
        folder = write_pilot(root / "site", people=PEOPLE)
        use = folder.folder / "use.toml"
        use.write_text(use.read_text().replace('"finetuning"]', '"finetuning", "evaluation"]'))
        folder.config.write_text(folder.config.read_text() + COSTS)
        train(folder, root / "run", test="mine/P1", held_out=0.4)
        yield root, folder


def agree_to_evaluation(folder, *people):
    registry = folder.consent
    notice = registry.publish_notice("evaluation", "en", NOTICE, [Purpose.EVALUATION])
    assert isinstance(notice, NoticeRef)
    registry.append(
        [
            ConsentGiven(
                subject_id=person, grants=(Grant(purpose=Purpose.EVALUATION),), notice=notice,
                evidence="0" * 64,
            )
            for person in people
        ],
        Role.REGISTRAR,
    )  # fmt: skip


def report(folder, root, *arguments):
    return run.invoke(
        app,
        ["pilot", "report", "--run", str(root / "run"), "--site", str(folder.config),
         "--out", str(root / "report"), *arguments],
    )  # fmt: skip


def test_the_report_of_a_pilot(trained) -> None:
    root, folder = trained
    refused = report(folder, root)
    assert (refused.exit_code, "agrees to evaluation" in refused.output) == (1, True)

    agree_to_evaluation(folder, "clinic-p0", "clinic-p1", "clinic-p4")
    table = root / "decisions.csv"
    rows = [f"c{k},{k % 2},{(k % 3) % 2},{k % 2}" for k in range(30)]
    table.write_text("case,truth,without,with\n" + "\n".join(rows) + "\n")
    got = report(folder, root, "--decisions", str(table))
    assert got.exit_code == 0, got.output
    assert "Recommendation: " in got.output
    found = json.loads((root / "report" / "pilot.json").read_text())
    assert (found["detector"]["tested_on"], found["detector"]["num_people"]) == ("test people", 2)
    assert found["cost"]["labelled_minutes"] == pytest.approx(PEOPLE * 4 / 0.1 / 60)
    assert found["cost"]["per_subject"] == (100 + 10 * PEOPLE) / PEOPLE
    assert found["policy"]["outcome"] == "allow"
    assert found["effect"]["sensitivity_with"]["value"] == 1.0
    assert found["effect"]["all_cases"]["worse"] == 0
    page = (root / "report" / "pilot.html").read_text()
    assert "<script" not in page
    assert "McNemar" in page
    for text in (page, json.dumps(found), got.output):
        assert "clinic-p" not in text.replace("clinic-pilot", "")


def test_evaluation_must_be_declared(trained, tmp_path) -> None:
    root, folder = trained
    use = folder.folder / "use.toml"
    before = use.read_text()
    try:
        use.write_text(before.replace(', "evaluation"', ""))
        got = report(folder, root)
    finally:
        use.write_text(before)
    assert (got.exit_code, "does not name the purpose evaluation" in got.output) == (1, True)
    empty = run.invoke(
        app, ["pilot", "report", "--run", str(tmp_path), "--site", str(folder.config)]
    )
    assert (empty.exit_code, "holds no run" in empty.output) == (1, True)


def test_prices_are_checked(trained) -> None:
    _, folder = trained
    assert open_site(folder.config).config.costs.fixed == 100.0
    before = folder.config.read_text()
    try:
        folder.config.write_text(before.replace("fixed = 100.0", "fixed = -1.0"))
        got = run.invoke(app, ["check", str(folder.config)])
    finally:
        folder.config.write_text(before)
    assert (got.exit_code, "costs.fixed" in got.output) == (1, True)
