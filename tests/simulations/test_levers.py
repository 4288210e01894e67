"""The study of levers: its plan, its people, its verdicts."""

import json

import numpy as np
import pytest

from core_model.evaluation.metrics import Predictions
from simulations.levers.measure import Answers, neutral_rows
from simulations.levers.page import markdown, write_study
from simulations.levers.people import all_specs, pool_specs, site_spec
from simulations.levers.plan import CURES, load_plan
from simulations.levers.result import LeverCellResult, LeverResult
from simulations.levers.study import summarise
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.people import specs_of


@pytest.mark.parametrize("name", ["reference", "quick"])
def test_only_the_reference_is_adapted_and_every_seed_has_one(name):
    plan = load_plan(name)
    cells = plan.cells()
    assert len({c.digest() for c in cells}) == len(cells) == 5 * len(plan.seeds)
    for cell in cells:
        assert bool(cell.cures) == (cell.beginning.name == "reference")
    assert len({c.name for c in CURES} | {c.beginning.name for c in cells}) == len(CURES) + 5


def test_nobody_is_in_two_groups():
    for cell in load_plan("reference").cells():
        people = [
            (s.seed, n)
            for s in all_specs(cell)
            for n in range(s.first_person, s.first_person + s.num_people)
        ]
        assert len(set(people)) == len(people)
        away = specs_of(cell.base).new_site[0].look
        assert site_spec(cell).look == away
        assert away not in {s.look for s in pool_specs(cell)}


def found(name, hits, seconds=1.0):
    """Return a lever that finds ``hits`` of ten positives of each of eight people."""
    probe = ProbeResult(accuracy=0.5, chance=0.1, num_subjects=8)
    counts = tuple(((h, 2, 10 - h),) for h in hits)
    f1 = 2 * sum(hits) / (2 * sum(hits) + 16 + 80 - sum(hits))
    return LeverResult(
        name=name, f1_new_people=0.7, f1_new_site=f1, auc_new_site=0.8, counts=counts,
        features=probe, logits=probe, equal_error_rate=ScoreResult(value=0.2, low=0.1, high=0.3),
        seconds=seconds,
    )  # fmt: skip


@pytest.fixture
def results():
    cells = load_plan("quick").cells()
    reference = (
        found("reference", [5] * 8), found("better", [8] * 8), found("worse", [2] * 8),
        found("odd", [9, 1, 8, 2, 7, 3, 6, 4]),
    )  # fmt: skip
    return [
        LeverCellResult(cell=cells[0], levers=reference, always=0.4, seconds=4.0),
        LeverCellResult(
            cell=cells[1], levers=(found("no augmentation", [4] * 8),), always=0.4, seconds=2.0
        ),
    ]


def test_verdicts_follow_the_intervals(results):
    rows = {r.name: r for r in summarise(results)}
    assert next(iter(rows)) == "reference"
    told = {name: row.verdict for name, row in rows.items()}
    assert told == {
        "reference": "reference", "better": "helps", "worse": "hurts",
        "odd": "no difference shown", "no augmentation": "hurts",
    }  # fmt: skip
    better = rows["better"]
    assert better.gain.value == pytest.approx(better.by_seed[0])
    assert better.p_value < 0.05 < rows["odd"].p_value


def test_a_study_without_its_reference_says_so(results):
    with pytest.raises(ValueError, match="reference"):
        summarise(results[1:])


def test_the_page_shows_every_lever_and_no_script(results, tmp_path):
    page = write_study(results, tmp_path, "omote-sim levers --plan quick").read_text()
    assert "<script" not in page
    table = markdown(summarise(results))
    for name in ("reference", "better", "worse", "odd", "no augmentation"):
        assert name in page
        assert f"| {name} |" in table
    assert (tmp_path / "levers.svg").read_text().startswith("<svg")
    json.loads(results[0].model_dump_json())


def test_the_neutral_frame_is_the_first_of_each_person():
    subjects = np.array([2, 2, 0, 0, 0, 1])
    answers = Answers(
        Predictions((1,), *(np.zeros((6, 1)) for _ in range(3)), subjects),
        np.zeros((6, 2), np.float32),
        subjects,
    )
    assert neutral_rows(answers).tolist() == [2, 5, 0]
