"""The commands on a trained run, from recordings to pages."""

import csv
import json
import re

import pytest
from typer.testing import CliRunner

from core_model.checkpoint import load_checkpoint, save_checkpoint
from core_model.cli import app
from core_model.evaluation.thresholds import TEST_SWEPT_WARNING
from core_model.recipe import shipped_recipes
from tests.core_model.faces import write_site

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A trained run of three epochs, its own people and new ones."""
    root = tmp_path_factory.mktemp("site")
    own = write_site(root / "own", num_people=10, frames=10)
    write_site(root / "new", num_people=9, frames=10, first_person=50)
    recipe = root / "three.toml"
    text = shipped_recipes()["generated"].read_text()
    recipe.write_text(text.replace("epochs = 12", "epochs = 3"))
    args = ["train", "--recipe", recipe, "--recordings", own, "--out", root / "run"]
    done = RUNNER.invoke(app, [str(a) for a in [*args, "--device", "cpu", "--held-out", "0.4"]])
    assert done.exit_code == 0, done.output
    return root


def evaluate(site, out, *more):
    args = ["evaluate", "--checkpoint", site / "run", "--recordings", site / "new/recordings.csv"]
    args += ["--out", out, "--device", "cpu", *more]
    return RUNNER.invoke(app, [str(a) for a in args])


def test_evaluate_writes_json_csv_and_a_page(site, tmp_path) -> None:
    last = site / "run" / "epoch-001.safetensors"
    own = site / "own/recordings.csv"
    done = evaluate(site, tmp_path, "--validation", own, "--compare", last)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(result["protocols"]) == {"clean", "paper"}
    assert result["comparison"]["num_people"] == 9
    with (tmp_path / "evaluation.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {r["au"] for r in rows} >= {"macro", "AU12"}
    assert all((TEST_SWEPT_WARNING in r["warning"]) == (r["protocol"] == "paper") for r in rows)
    page = (tmp_path / "evaluation.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", page.replace('xlink:href="#', 'href="#'))
    assert "<script" not in page
    assert not any(f"subj-5{i}" in text for i in range(9) for text in (page, json.dumps(result)))


def test_every_line_that_shows_a_test_swept_figure_carries_the_warning(site, tmp_path) -> None:
    done = evaluate(site, tmp_path, "--validation", site / "own/recordings.csv")
    result = json.loads((tmp_path / "evaluation.json").read_text())
    shown = f"{result['protocols']['paper']['macro']['f1']['value']:.3f}"
    for line in done.output.splitlines():
        if line.startswith("paper"):
            assert shown in line
            assert TEST_SWEPT_WARNING in line
        elif line.startswith("clean"):
            assert "WARNING" not in line
    page = (tmp_path / "evaluation.html").read_text()
    for row in re.findall(r"<tr[^>]*><td>(?:(?!<tr).)*", page, re.DOTALL):
        swept = "on the people tested on<td" in row and "%" not in row
        assert not swept or "⚠" in row, row


def test_people_who_were_trained_on_do_not_choose_the_threshold(site, tmp_path) -> None:
    done = evaluate(site, tmp_path, "--validation", site / "own/recordings.csv")
    assert done.exit_code == 0, done.output
    record = json.loads((site / "run/run.json").read_text())
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["data"]["num_validation_people"] == 10 - record["num_subjects"]


def test_test_people_among_the_validation_people_are_refused(site, tmp_path) -> None:
    file = site / "run/epoch-003.safetensors"
    own = site / "own/recordings.csv"
    args = ["evaluate", "--checkpoint", file, "--recordings", own, "--validation", own]
    done = RUNNER.invoke(app, [str(a) for a in [*args, "--out", tmp_path]])
    assert done.exit_code == 1
    assert "10 people are among both" in done.output


def test_without_validation_people_the_page_says_so(site, tmp_path) -> None:
    done = evaluate(site, tmp_path, "--protocol", "clean")
    assert "no validation people" in done.output
    refused = evaluate(site, tmp_path, "--threshold", "val_swept_per_au")
    assert (refused.exit_code, "--validation" in refused.output) == (1, True)


def test_identity_writes_json_csv_and_a_page(site, tmp_path) -> None:
    args = ["identity", "--checkpoint", site / "run", "--out", tmp_path, "--device", "cpu"]
    args += ["--recordings", site / "own/recordings.csv", "--frames-per-recording", 4]
    done = RUNNER.invoke(
        app, [str(a) for a in [*args, "--new-people", site / "new/recordings.csv"]]
    )
    assert done.exit_code == 0, done.output
    assert "never removed" in done.output
    result = json.loads((tmp_path / "identity.json").read_text())
    assert [g["are_new"] for g in result["groups"]] == [False, True]
    assert set(result["groups"][0]["surfaces"]) == {"features", "logits", "au_outputs"}
    page = (tmp_path / "identity.html").read_text()
    assert "paper's probe" in page
    assert not any(f"subj-5{i}" in text for i in range(9) for text in (page, json.dumps(result)))


def test_the_licence_is_on_everything_that_shows_the_model(site, tmp_path) -> None:
    arrays, manifest = load_checkpoint(site / "run/epoch-003.safetensors")
    bound = tmp_path / "nc.safetensors"
    save_checkpoint(bound, arrays, manifest.model_copy(update={"licence": "CC-BY-NC-4.0"}))
    more = ["--recordings", str(site / "new/recordings.csv"), "--out", str(tmp_path / "o")]
    for command in (["evaluate"], ["identity", "--frames-per-recording", "3"]):
        done = RUNNER.invoke(app, [*command, "--checkpoint", str(bound), *more, "--device", "cpu"])
        assert done.exit_code == 0, done.output
        assert "not for commercial use" in done.output
    for page in ("evaluation.html", "identity.html"):
        assert "not for commercial use" in (tmp_path / "o" / page).read_text()


def test_cross_shows_only_aus_that_all_share(site, tmp_path) -> None:
    bp4d = write_site(tmp_path / "b", num_people=9, aus=(1, 2, 4, 6, 7, 10, 12), first_person=80)
    run, new = site / "run", site / "new/recordings.csv"
    args = ["cross", "--checkpoint", f"a={run}", "--recordings", f"new={new}"]
    args += ["--recordings", f"other={bp4d}", "--out", str(tmp_path / "o"), "--device", "cpu"]
    done = RUNNER.invoke(app, args)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "o/cross.json").read_text())
    assert result["action_units"] == [1, 2, 4, 6, 12]
    assert [(c["model"], c["people"]) for c in result["cells"]] == [("a", "new"), ("a", "other")]
    assert "licence Apache-2.0" in done.output
    twice = RUNNER.invoke(app, [*args, "--recordings", f"new={bp4d}"])
    assert (twice.exit_code, "comes twice" in twice.output) == (1, True)
