"""Attacks: each on something that must give in, and on something that must not."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from core_model.config import EncoderConfig
from core_model.evaluation.attack_result import AttackResult, Row
from core_model.nn.iat import IATModel
from simulations.attacks import inversion, suite
from simulations.attacks.membership import (
    alignment,
    auc_by_people,
    auc_by_rows,
    coins,
    likelihood_ratios,
)
from simulations.attacks.page import write_page
from simulations.attacks.recognisers import Patterns, recognisers
from simulations.attacks.setting import QUICK, Setting
from simulations.attacks.suite import ATTACKS, HOW, Attack, AttackError, run_suite
from simulations.cli import app


def row(value, low, high, **changes):
    return Row(against="x", measure="AUC", value=value, low=low, high=high, chance=0.5, **changes)


@pytest.mark.parametrize(
    ("made", "has_succeeded"),
    [
        (row(0.8, 0.6, 0.9), True),
        (row(0.8, 0.4, 0.9), False),  # the interval holds a coin
        (row(0.2, 0.1, 0.3), False),
        (row(0.2, 0.1, 0.3, wants_less=True), True),
        (row(0.4, 0.3, 0.6, wants_less=True), False),
        (row(0.8, None, None), True),
    ],
)
def test_an_attack_succeeds_when_its_whole_interval_beats_chance(made, has_succeeded) -> None:
    assert made.has_succeeded is has_succeeded


def test_every_attack_has_a_question() -> None:
    assert set(HOW) == set(ATTACKS)


def test_everybody_is_in_half_of_the_trainings() -> None:
    included = coins(6, 10, seed=0)
    assert (included.sum(axis=0) == 3).all()
    assert (included.sum(axis=1) == 5).all()


@pytest.mark.parametrize(("gap", "low", "high"), [(2.0, 0.85, 1.0), (0.0, 0.3, 0.7)])
def test_shadow_models_find_members_only_where_losses_differ(gap, low, high) -> None:
    chance = np.random.default_rng(0)
    included = coins(16, 20, seed=1)
    easy = 3 * chance.standard_normal(20)  # some people are easier: that is not membership
    statistics = easy + chance.standard_normal(included.shape) + gap * included
    score = auc_by_people(likelihood_ratios(statistics, included), included)
    assert low < score.value < high
    assert score.low < score.value < score.high


def test_an_update_shows_whose_gradients_it_is_made_of() -> None:
    torch.manual_seed(0)
    common = torch.randn(500)
    known = torch.nn.functional.normalize(torch.randn(12, 500) + common, dim=1)
    included = coins(8, 12, seed=0)
    updates = [-known[torch.from_numpy(who)].sum(dim=0) for who in included]
    found = np.stack([alignment(known, u) for u in updates])
    assert auc_by_rows(found, included).value > 0.99
    noise = np.stack([alignment(known, torch.randn(500)) for _ in updates])
    assert 0.3 < auc_by_rows(noise, included).value < 0.7


@pytest.fixture
def victim(monkeypatch):
    """Return a small detector whose positions train, an image and its gradient."""
    small = EncoderConfig(
        image_size=16, patch_size=4, embed_dim=32, depth=1, num_heads=2, positions="stored"
    )
    monkeypatch.setattr(inversion, "ENCODER", small)
    monkeypatch.setattr(inversion, "SIDE", 16)
    model = inversion._detector(0)
    assert isinstance(model, IATModel)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    aus = torch.ones(1, len(inversion.AUS))
    return model, image, aus, inversion._gradient(model, image, aus)


def test_gradients_of_positions_give_the_image_away(victim) -> None:
    _, image, _, sent = victim
    assert float((inversion.solve(sent) - image[0]).abs().max()) < 0.02


def test_the_noise_of_one_step_leaves_nothing_to_see(victim) -> None:
    _, image, _, sent = victim
    drawn = inversion.solve(inversion._noisy(sent, seed=1))
    grey = torch.full_like(image[0], 0.5)
    assert float((drawn - image[0]).square().mean()) > float((grey - image[0]).square().mean())


def test_a_search_without_them_comes_nearer_to_the_gradient(victim) -> None:
    model, _, aus, sent = victim
    ours = {n: g for n, g in sent.items() if n != inversion.PATCHES[1]}
    wanted = torch.cat([g.flatten() for g in ours.values()])
    likeness = []
    for iterations in (1, 60):
        chance = torch.Generator().manual_seed(0)
        drawn = inversion.search(model, ours, aus, iterations, chance)
        found = inversion._gradient(model, drawn[None], aus)
        flat = torch.cat([found[n].flatten() for n in ours])
        likeness.append(float(torch.nn.functional.cosine_similarity(flat, wanted, dim=0)))
    assert likeness[1] > likeness[0] + 0.05


def test_a_recogniser_knows_a_picture_again() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    found = Patterns().vectors(pictures)
    again = Patterns().vectors(np.clip(pictures.astype(int) + 20, 0, 255).astype(np.uint8))
    assert ((again @ found.T).argmax(axis=1) == np.arange(4)).all()
    assert recognisers()[-1].name == "LBP"


def told(monkeypatch, number):
    """Replace one attack by one that counts its runs."""
    runs = []

    def run(setting):
        runs.append(setting)
        return (row(0.9, 0.8, 1.0, is_baseline=True), row(number, 0.4, 0.6))

    monkeypatch.setitem(suite.HOW, "replay", Attack(run, "Who?", "So."))
    return runs


def test_a_finished_attack_is_not_run_again_and_others_are_not_mixed_in(
    tmp_path, monkeypatch
) -> None:
    runs = told(monkeypatch, 0.5)
    setting = Setting(QUICK, 7, tmp_path)
    first = run_suite(setting, tmp_path / "out", ("replay",), lambda *_: None)
    assert run_suite(setting, tmp_path / "out", ("replay",), lambda *_: None) == first
    assert len(runs) == 1
    with pytest.raises(AttackError, match="of seed 7"):
        run_suite(Setting(QUICK, 8, tmp_path), tmp_path / "out", ("replay",), lambda *_: None)
    (tmp_path / "out" / "replay.json").write_text("{")
    with pytest.raises(AttackError, match="damaged"):
        run_suite(setting, tmp_path / "out", ("replay",), lambda *_: None)


def test_the_page_has_no_script_and_says_which_baseline_failed(tmp_path) -> None:
    result = AttackResult(
        attack="replay", question="<b>Who?</b>", means="So.", effort="quick", seed=1, seconds=1.0,
        rows=(row(0.5, 0.4, 0.6, is_baseline=True), row(0.9, 0.8, 1.0)),
    )  # fmt: skip
    assert not result.is_meaningful
    page = write_page([result], tmp_path, "omote-sim attack", "a machine").read_text()
    assert "<script" not in page
    assert "&lt;b&gt;Who?" in page
    assert "FAILED undefended" in page
    assert (
        "| replay | x | AUC | **0.500 [0.400, 0.600]** | 0.5 |"
        in (tmp_path / "attacks.md").read_text()
    )


def test_an_attack_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(app, ["attack", "--only", "telepathy"])
    assert result.exit_code == 2
    assert "inversion" in result.output
