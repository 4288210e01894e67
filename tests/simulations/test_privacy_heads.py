"""What each identity head costs in a private phase: its cells, its measures, its table."""

import json
import math

import numpy as np
import pytest

from core_model.frozen_head import BIAS
from simulations.privacy_cell import Cell, CellResult, Effort, plan_of
from simulations.privacy_curve import cells_of, make_faces, run_curve
from simulations.privacy_heads import write_heads
from simulations.privacy_identity import Identity, first_head, identity_of
from simulations.privacy_public import public_model
from simulations.results import ScoreResult

# As a curve of an earlier version kept it.
OLD = (
    '{"cell":{"epsilon":"Infinity","scope":"head","has_iat":true,"people":64,"sites":2,"seed":0},'
    '"noise_multiplier":1e-9,"sampling_rate":0.5,"f1":0.6,"low":0.5,"high":0.7,"f1_public":0.58,'
    '"f1_always":0.46}'
)


def test_cells_of_other_grids_keep_name_and_results() -> None:
    old = CellResult.model_validate_json(OLD)
    assert old.cell.name == "iat-head-epsinf-p64-s2-0"
    assert old.cell in cells_of("cross", [0])
    assert (old.identity, old.step_s) == (None, None)
    heads = cells_of("heads", [0, 1])
    assert len({c.name for c in heads}) == len(heads)
    assert not {c.name for c in heads} & {c.name for c in cells_of("full", [0, 1])}


def test_heads_differ_in_nothing_but_the_head() -> None:
    heads = cells_of("heads", [0])
    assert {c.identity_head for c in heads} == {"none", "frozen", "inside"}
    assert {c.epsilon for c in heads} == {8.0, math.inf}
    assert all(c.scope != "head" for c in heads)  # its encoder stays as it is
    first = next(c for c in heads if c.identity_head == "none")
    for kind in ("frozen", "inside"):
        other = first.model_copy(update={"identity_head": kind})
        assert other in heads
        assert other.chance == first.chance  # the same people are drawn, under the same noise
        plans = [plan_of(c, Effort()) for c in (first, other)]
        assert plans[1] == plans[0].model_copy(update={"identity_head": kind})


def result(kind, seed, f1, named):
    share, sure = ScoreResult(value=named, low=named - 0.1, high=named + 0.1), 0.9
    told = Identity(
        site=share, new=share, chance=0.02,
        equal_error_rate=ScoreResult(value=0.2, low=0.1, high=0.3),
        by_head=None if kind == "none" else sure,
    )  # fmt: skip
    cell = Cell(
        epsilon=8.0, scope="full", has_iat=True, people=64, sites=2, seed=seed, identity_head=kind
    )
    return CellResult(
        cell=cell, noise_multiplier=1.0, sampling_rate=0.5, f1=f1, low=f1 - 0.1, high=f1 + 0.1,
        f1_public=0.5, f1_always=0.4, identity=told,
        identity_public=told.model_copy(update={"by_head": 0.8}), step_s=0.2 + seed / 10,
    )  # fmt: skip


def test_table_compares_seed_by_seed(tmp_path) -> None:
    results = [
        result("none", 0, 0.6, 0.5), result("none", 1, 0.7, 0.6),
        result("frozen", 0, 0.5, 0.3), result("frozen", 1, 0.7, 0.5),
    ]  # fmt: skip
    text = write_heads(results, "omote-sim privacy --grid heads", "x86_64", tmp_path).read_text()
    *_, none, frozen = text.splitlines()
    assert none.startswith("| full | yes | 8 | none | 0.650 (0.500-0.800) |  | 55% (40%-70%)")
    assert "| frozen, 1 x | 0.600 (0.400-0.800) | -0.050 (-0.100 to +0.000) |" in frozen
    assert "| -15.0% (-20.0% to -10.0%) | 0.200 (0.100-0.300) | 90% | 200 |" in frozen
    assert "with IAT: F1 0.500" in text
    assert "the frozen head names 80% of the public people" in text
    assert len(json.loads((tmp_path / "heads.json").read_text())["cells"]) == 4


@pytest.mark.slow
def test_each_head_is_put_in_and_measured(tmp_path) -> None:
    effort = Effort(public_epochs=1, pretraining_epochs=1, rounds=2, steps_per_round=2)
    none = Cell(
        epsilon=math.inf, scope="full", has_iat=True, people=6, sites=2, seed=0,
        identity_head="none",
    )  # fmt: skip
    cells = [none.model_copy(update={"identity_head": h}) for h in ("none", "frozen", "inside")]
    out, cache = tmp_path / "out", tmp_path / "cache"
    found = run_curve(cells, effort, out, cache, 1, lambda *_: None)
    for measured, cell in zip(found, cells, strict=True):
        assert measured.cell == cell
        assert measured.step_s > 0
        assert (measured.identity.by_head is None) == (cell.identity_head == "none")
        shares = (measured.identity.site, measured.identity.new, measured.identity.equal_error_rate)
        assert all(0 <= s.low <= s.value <= s.high <= 1 for s in shares)
    # Equal draws and no noise: what differs in F1 and identity is the work of the heads.
    assert len({r.model_dump_json(include={"f1", "identity"}) for r in found}) == 3
    assert len({r.identity_public.model_dump_json() for r in found}) == 1

    faces, public = make_faces([6, 6], cache, 1, lambda *_: None), out / "public-iat.safetensors"
    frozen, inside = (first_head(plan_of(c, effort), public, faces, 0) for c in cells[1:])
    assert len(frozen[BIAS]) == 8  # public people of a small run
    assert len(inside[BIAS]) == plan_of(cells[2], effort).identity_slots
    nobody = {name: np.zeros_like(array) for name, array in frozen.items()}
    by_nobody = identity_of(public_model(public), faces, 6, "frozen", nobody).by_head
    assert by_nobody <= 1 / 8 + 0.01 < found[1].identity_public.by_head
