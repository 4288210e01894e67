"""What an operator sees of budgets and the ledger; and that looking changes nothing."""

import math

import pytest
from typer.testing import CliRunner

from fl_client.budget_report import describe, distribution
from fl_client.cli import app
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites
from tests.fl_client.test_private_round import ledger_of, limit, private_federation, simulated

run = CliRunner()


@pytest.fixture
def spent(tmp_path):
    """A site with one person of another budget, after one private round."""
    folders = write_sites(tmp_path)
    folder = folders["site-a"]
    limit(folder, "site-a-p1", "0.5")
    coordinator = Coordinator(private_federation(tmp_path, folders))
    run_round(coordinator.request("site-a"), simulated(folder))
    return folders, tmp_path


def test_bands() -> None:
    found = distribution([0.0, 0.0, 0.4, 1.0, 7.9, 20.0, math.inf])
    assert found == {
        "nothing": 2, "0 to 0.5": 1, "0.5 to 1": 1, "4 to 8": 1, "over 16": 1, "no bound": 1,
    }  # fmt: skip


def test_counts_and_no_names_unless_asked(spent) -> None:
    folders, _ = spent
    config = str(folders["site-a"].config)
    shown = run.invoke(app, ["budget", config])
    assert shown.exit_code == 0, shown.output
    assert "people ever charged: 2; cap of the site: epsilon 8" in shown.output
    assert "1 to 2       2" in shown.output
    assert "PRV" in shown.output
    assert "site-a-p" not in shown.output
    listed = run.invoke(app, ["budget", config, "--people"]).output
    assert "site-a-p1" in listed
    assert listed.splitlines()[-2].split() == ["site-a-p1", "0.000"]


def test_people_without_a_bound_and_frames_are_named_as_such(spent) -> None:
    folders, root = spent
    folder = folders["site-a"]
    run_round(
        Coordinator(write_federation(root, folders, output="bare")).request("site-a"),
        open_site(folder.config),
    )
    plan = {"unit": "frame", "sampling_rate": 0.1, "nominal_units": 40, "steps_per_round": 2,
            "noise_multiplier": 3.0, "scope": "head"}  # fmt: skip
    text = folder.config.read_text()
    folder.config.write_text(text.replace("[caps]", "[caps]\nallows_frame_privacy = true"))
    frames = Coordinator(private_federation(root, folders, plan, output="frames"))
    run_round(frames.request("site-a"), simulated(folder))
    lines = "\n".join(describe(ledger_of(folder), open_site(folder.config).recordings, 8, 1e-5))
    assert "no bound     2" in lines
    assert "of a person with 4 frames" in lines
    assert "That is no promise about a person" in lines


def test_verify_finds_what_is_wrong(spent) -> None:
    folders, _ = spent
    folder = folders["site-a"]
    path = folder.folder / "state" / "privacy-ledger.jsonl"
    whole = path.read_bytes()
    good = run.invoke(app, ["ledger", "verify", str(folder.config)])
    assert good.exit_code == 0, good.output
    assert "3 lines, unbroken" in good.output
    assert "told     3 lines in the last private update" in good.output
    lines = whole.splitlines(keepends=True)
    for broken, message in (
        (b"".join(lines[:2]), "restored from an old backup"),
        (whole.replace(b'"steps":1', b'"steps":9', 1), "damaged at line 3"),
    ):
        path.write_bytes(broken)
        bad = run.invoke(app, ["ledger", "verify", str(folder.config)])
        assert (bad.exit_code, message in bad.output) == (1, True), bad.output
        assert path.read_bytes() == broken


def test_looking_begins_no_ledger(tmp_path) -> None:
    folder = write_sites(tmp_path)["site-a"]
    for command in (["budget"], ["ledger", "verify"]):
        shown = run.invoke(app, [*command, str(folder.config)])
        assert (shown.exit_code, "there is no privacy ledger" in shown.output) == (1, True)
    assert not list(folder.folder.rglob("privacy-ledger.*"))
