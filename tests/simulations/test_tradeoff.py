"""A study of reversal scales: its grid, its bookkeeping, its verdicts, and one tiny run."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core_model.settings_file import SettingsError
from simulations.cli import app
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.grid import Corpus, Grid, Series, load_grid
from simulations.tradeoff.page import limit_of
from simulations.tradeoff.people import specs_of
from simulations.tradeoff.result import CellResult, EpochResult, IdentityResult
from simulations.tradeoff.summary import on_front, recommend, summarise

AUS = (1, 12)


def grid_of(**changes):
    series = Series(corpora=(Corpus(people=4),), scales=(0.0, 0.5, 2.0))
    return Grid(**{"seeds": (1,), "epochs": 2, "action_units": AUS, "series": (series,), **changes})


@pytest.mark.parametrize("name", ["reference", "quick"])
def test_a_shipped_grid_has_a_plain_training_for_every_corpus(name):
    cells = load_grid(name).cells()
    assert len(set(cells)) == len(cells)
    for cell in cells:
        plain = [c for c in cells if c.corpus == cell.corpus and c.seed == cell.seed]
        assert any(not c.method.scale for c in plain)


def test_without_reversal_head_and_loss_make_no_difference():
    series = Series(
        corpora=(Corpus(people=4),),
        scales=(0.0, 1.0),
        identity_losses=("ce", "bce_onehot"),
        identity_head_layers=(1, 3),
    )
    assert len(series.methods()) == 1 + 4


def test_a_training_asked_for_twice_is_run_once():
    series = Series(corpora=(Corpus(people=4),), scales=(0.0, 1.0))
    assert len(grid_of(series=(series, series)).cells()) == 2


def test_a_look_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="expected looks among"):
        Corpus(people=4, looks=("moon",))


def test_nobody_is_in_two_groups():
    cell = grid_of(series=(Series(corpora=(Corpus(people=90, looks=("lab", "clinic")),)),)).cells()[
        0
    ]
    people = [
        (s.seed, n)
        for s in specs_of(cell).all()
        for n in range(s.first_person, s.first_person + s.num_people)
    ]
    assert len(set(people)) == len(people)


def test_all_corpora_are_tested_on_the_same_people():
    corpora = (Corpus(people=20, shortcut_strength=0.0), Corpus(people=8, frames_per_recording=7))
    cells = grid_of(series=(Series(corpora=corpora),)).cells()
    first, second = (specs_of(c) for c in cells)
    assert first.new_people == second.new_people
    assert first.new_site == second.new_site


def result_of(cell, probe, counts, auc=0.8, f1=(0.5, 0.6)):
    epochs = tuple(
        EpochResult(
            threshold=0.5, f1_validation=v, f1_own=0.9, f1_new_people=v, f1_new_site=v,
            auc_new_people=auc,
        )
        for v in f1
    )  # fmt: skip
    named = ProbeResult(accuracy=probe, chance=0.1, num_subjects=10)
    identity = IdentityResult(
        own=named, new=named, equal_error_rate=ScoreResult(value=0.3, low=0.2, high=0.4)
    )
    return CellResult(
        cell=cell, epochs=epochs, best=1, identity_last=identity, identity_best=identity,
        counts_last=counts, always=0.4, labels_probe=0.2, seconds=1.0,
    )  # fmt: skip


def counts_of(people, tp, fp, fn):
    return tuple(tuple((tp + k % 3, fp, fn) for _ in AUS) for k in range(people))


def study(probes, all_counts, aucs=(0.8, 0.8, 0.8)):
    found = zip(grid_of().cells(), probes, all_counts, aucs, strict=True)
    return summarise([result_of(c, p, n, auc=auc) for c, p, n, auc in found])


def test_a_gain_on_every_person_is_called_a_gain_and_a_loss_a_cost():
    plain, better, worse = counts_of(12, 10, 5, 5), counts_of(12, 14, 3, 3), counts_of(12, 5, 9, 9)
    none, gain, cost = study((0.9, 0.5, 0.2), (plain, better, worse))
    assert (none.verdict, gain.verdict, cost.verdict) == ("reference", "gain", "cost")
    assert gain.identity_removed == pytest.approx(0.5)


def test_a_change_that_people_do_not_agree_on_is_no_difference():
    plain = counts_of(12, 10, 5, 5)
    mixed = tuple(
        tuple((n[0] + (2 if k % 2 else -2), n[1], n[2]) for n in person)
        for k, person in enumerate(plain)
    )
    assert study((0.9, 0.5, 0.5), (plain, mixed, plain))[1].verdict == "no difference shown"


def test_a_detector_that_ranks_like_a_coin_has_collapsed_and_is_never_recommended():
    counts = counts_of(12, 10, 5, 5)
    _, first, second = study((0.9, 0.1, 0.1), (counts,) * 3, aucs=(0.8, 0.51, 0.51))
    assert {first.verdict, second.verdict} == {"collapse"}
    assert recommend((first, second), 1.0) is None


def test_where_plain_training_learnt_nothing_nothing_is_concluded():
    rows = study((0.9, 0.1, 0.1), (counts_of(12, 10, 5, 5),) * 3, aucs=(0.51, 0.8, 0.5))
    assert {r.verdict for r in rows} == {"too little training"}


def test_the_recommended_scale_keeps_the_limit():
    counts = counts_of(12, 10, 5, 5)
    rows = study((0.9, 0.5, 0.2), (counts,) * 3)
    assert limit_of(rows) == pytest.approx(0.5)
    assert recommend(rows, 0.5).probe_own <= 0.5
    assert recommend(rows, 0.15) is None


@given(st.lists(st.tuples(st.floats(0.2, 1), st.floats(0, 1)), min_size=3, max_size=3))
def test_the_front_is_never_empty_and_holds_the_best_f1(points):
    counts = counts_of(4, 10, 5, 5)
    cells = grid_of().cells()
    rows = summarise(
        [result_of(c, p, counts, f1=(f, f)) for c, (f, p) in zip(cells, points, strict=True)]
    )
    front = [r for r in rows if on_front(r, rows)]
    assert max(r.f1_new_people for r in rows) in [r.f1_new_people for r in front]


def test_an_unknown_grid_names_those_that_are_shipped():
    answer = CliRunner().invoke(app, ["tradeoff", "--grid", "nothing"])
    assert answer.exit_code == 2
    assert "reference" in answer.output


def test_a_bad_grid_names_file_and_field(tmp_path):
    (tmp_path / "bad.toml").write_text("seeds = [1]\nepochs = 1\n")
    with pytest.raises(SettingsError, match=r"bad\.toml: epochs"):
        load_grid(str(tmp_path / "bad.toml"))


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    root = tmp_path_factory.mktemp("tradeoff")
    (root / "grid.toml").write_text(
        "seeds = [1]\nepochs = 2\naction_units = [12, 25]\nnew_people = 8\n"
        "[[series]]\ncorpora = [{ people = 4, frames_per_recording = 4 }]\nscales = [0.0, 0.5]\n"
    )
    command = ["tradeoff", "--grid", str(root / "grid.toml"), "--workers", "1"]
    command += ["--out", str(root / "out")]
    answer = CliRunner().invoke(app, [*command, "--cache", str(root / "cache")])
    assert answer.exit_code == 0, answer.output
    return root, command, answer


@pytest.mark.slow
def test_a_study_writes_its_page_and_every_training(ran):
    root, _, answer = ran
    page = (root / "out" / "tradeoff.html").read_text()
    assert "<script" not in page
    assert page.count("<svg") == 2
    assert "relative 0.5, CE, linear" in page
    cells = [json.loads(p.read_text()) for p in (root / "out" / "cells").glob("*.json")]
    assert len(cells) == 2
    assert all(len(c["epochs"]) == 2 and 0 < c["epochs"][-1]["f1_new_people"] < 1 for c in cells)
    assert "relative 0.5" in answer.output


@pytest.mark.slow
def test_a_study_that_was_interrupted_runs_only_what_is_missing(ran):
    root, command, _ = ran
    first, second = sorted((root / "out" / "cells").glob("*.json"))
    kept, lost = first.read_text(), json.loads(second.read_text())
    before = first.stat().st_mtime_ns
    second.unlink()
    again = CliRunner().invoke(app, [*command, "--cache", str(root / "cache")])
    assert again.exit_code == 0, again.output
    assert (first.read_text(), first.stat().st_mtime_ns) == (kept, before)
    anew = json.loads(second.read_text())
    assert anew["epochs"] == lost["epochs"]  # equal seeds, equal numbers
    assert np.array_equal(anew["counts_last"], lost["counts_last"])
