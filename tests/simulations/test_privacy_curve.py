"""The curve of F1 against epsilon in miniature: run, interrupted, gone on, written down."""

import json
import math

import pytest
from typer.testing import CliRunner

from simulations import privacy_curve
from simulations.cli import app
from simulations.privacy_cell import Cell, CellResult, Effort, plan_of
from simulations.privacy_curve import EPSILONS, cells_of, people_of_sites, run_curve
from simulations.privacy_page import useful_from, write_curve


def cell(**changes):
    settings = {
        "epsilon": 8.0,
        "scope": "head",
        "has_iat": True,
        "people": 64,
        "sites": 2,
        "seed": 0,
    }
    return Cell(**(settings | changes))


def test_grids_vary_what_they_say() -> None:
    cross, full = cells_of("cross", [0]), cells_of("full", [0])
    assert set(cross) < set(full)
    assert len(set(full)) == len(full) == 5 * 5 * 2 * 4 * 4
    assert {c.epsilon for c in cross} == set(EPSILONS)
    assert {c.people for c in cross} == {16, 32, 64, 128}
    assert {c.sites for c in cross} == {1, 2, 4, 8}
    assert {c.has_iat for c in cross} == {True, False}
    assert len(cells_of("tiny", [0, 1])) == 4
    assert len({c.name for c in cells_of("full", [0, 1])}) == 1600
    assert len(cross) == 5 * (5 + 1 + 3 + 3)  # the middle is in each
    assert people_of_sites(cross) == [128] * 2 + [64] * 6


@pytest.mark.parametrize("people", [16, 128])
def test_noise_follows_from_epsilon_and_people(people) -> None:
    noise = [plan_of(cell(epsilon=e, people=people), Effort()).noise_multiplier for e in EPSILONS]
    assert noise == sorted(noise, reverse=True)
    assert noise[-1] < 1e-6
    plan = plan_of(cell(people=people), Effort())
    assert plan.denominator == pytest.approx(min(people, 32))


def test_table_and_plot(tmp_path) -> None:
    results = [
        CellResult(
            cell=cell(epsilon=e, scope=scope, seed=seed), noise_multiplier=1.0, sampling_rate=1.0,
            f1=0.5 + seed / 10, low=0.4, high=0.7, f1_public=0.45, f1_always=0.4,
        )
        for e in (1.0, math.inf) for scope in ("head", "full") for seed in (0, 1)
    ]  # fmt: skip
    text = write_curve(results, "omote-sim privacy", "x86_64, 2 processors", tmp_path).read_text()
    assert text.count("| **0.550** (0.400-0.700) |") == 2
    assert "with IAT 0.450" in text
    assert "every AU, always, 0.400" in text
    assert "<svg" in (tmp_path / "curve-scope.svg").read_text()
    found = json.loads((tmp_path / "curve.json").read_text())["cells"]
    assert found[-1]["cell"]["epsilon"] == "Infinity"


def test_from_how_many_people_on_it_is_useful() -> None:
    """With 8 from 64 on; with 2 too little is gained; with 1 a seed of 128 people got worse."""
    found = {
        (8.0, 16): (0.5, 0.4), (8.0, 64): (0.5, 0.5), (8.0, 128): (0.6, 0.5),
        (1.0, 16): (0.5, 0.5), (1.0, 64): (0.5, 0.5), (1.0, 128): (0.5, 0.44),
        (2.0, 16): (0.46, 0.46), (2.0, 64): (0.46, 0.46), (2.0, 128): (0.46, 0.46),
        (math.inf, 16): (0.5, 0.5), (math.inf, 64): (0.5, 0.5), (math.inf, 128): (0.5, 0.5),
    }  # fmt: skip
    results = [
        CellResult(
            cell=cell(epsilon=e, people=people, seed=seed), noise_multiplier=1.0, sampling_rate=1.0,
            f1=f1, low=0.4, high=0.7, f1_public=0.45, f1_always=0.4,
        )
        for (e, people), values in found.items() for seed, f1 in enumerate(values)
    ]  # fmt: skip
    assert useful_from(results) == {1.0: None, 2.0: None, 8.0: 64, math.inf: 16}


@pytest.mark.slow
def test_curve_runs_and_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    cells = cells_of("tiny", [0])
    effort = Effort(public_epochs=1, pretraining_epochs=1, rounds=1, steps_per_round=2)
    out, cache = tmp_path / "out", tmp_path / "cache"
    first = run_curve(cells[:1], effort, out, cache, 1, lambda *_: None)
    weights = (out / "public-iat.safetensors").read_bytes()
    told = []
    both = run_curve(cells, effort, out, cache, 1, lambda *now: told.append(now))
    assert both[0] == first[0]
    assert (out / "public-iat.safetensors").read_bytes() == weights
    assert ("cells", 1, 2) in told
    assert all(0 <= r.low <= r.f1 <= r.high <= 1 for r in both)
    assert math.isinf(both[1].cell.epsilon)
    monkeypatch.setattr(privacy_curve, "make_faces", None)
    with pytest.raises(ValueError, match="choose another folder"):
        run_curve(cells, Effort(), out, cache, 1, lambda *_: None)


def test_unknown_grid_names_those_that_there_are() -> None:
    shown = CliRunner().invoke(app, ["privacy", "--grid", "huge"])
    assert (shown.exit_code, "tiny, cross, heads, full" in shown.output) == (1, True)
