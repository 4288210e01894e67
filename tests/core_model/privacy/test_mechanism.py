"""A whole step: what is drawn, clipped, noised and divided, and that it cannot be got around."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from core_model.privacy.chance import Chance, SimulationChance, SystemChance
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.mechanism import Mechanism
from core_model.privacy.plan import PrivacyPlan

PEOPLE = torch.arange(6).repeat_interleave(4)
GROUPS = [ClipGroup(("0.weight", "0.bias"), 0.5), ClipGroup(("2.weight", "2.bias"), 0.25)]


class Replay(Chance):
    """Everybody is drawn, frames do not change, and there is no noise."""

    is_private = False

    def _key(self) -> bytes:
        return bytes(48)

    def uniform(self, num: int):
        return np.full(num, 0.5)

    def bernoulli(self, num: int, rate: float):
        return np.ones(num, bool)

    def gaussian(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.float64)


def plan(**changes):
    return PrivacyPlan.model_validate({
        "sampling_rate": 0.5, "nominal_units": 10, "frames_per_subject": 4, "steps_per_round": 1,
        "noise_multiplier": 1.3, "clip_norm": 0.5, **changes,
    })  # fmt: skip


class Setting:
    """A small model of two groups; SGD with rate 1 shows the gradient as movement."""

    def __init__(self, promise, chance, people=PEOPLE, charge=lambda _: None, max_rows=64):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
        self.data = torch.randn(len(PEOPLE), 5) * 3
        self.frames_of = torch.cat([torch.where(p == PEOPLE)[0] for p in people.unique()])
        self.before = self.flat()
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.mechanism = Mechanism(
            self.model, GROUPS, subjects=people, plan=promise, chance=chance,
            optimiser=self.optimiser, charge=charge, max_rows=max_rows,
        )  # fmt: skip

    def loss(self, frames):
        return self.model(self.data[self.frames_of[frames]]).square().sum(dim=1) * 10

    def flat(self):
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def moved(self, steps=1):
        for _ in range(steps):
            self.mechanism.step(self.loss)
        return (self.flat() - self.before).double()


@pytest.mark.parametrize("clipping", ["automatic", "hard"])
def test_neighbouring_data_sets_are_no_further_apart_than_the_sensitivity(clipping) -> None:
    promise = plan(clipping=clipping)
    bound = math.sqrt(sum(g.clip_norm**2 for g in GROUPS)) / promise.denominator
    everybody = Setting(promise, Replay()).moved()
    apart = [
        float((everybody - Setting(promise, Replay(), PEOPLE[person != PEOPLE]).moved()).norm())
        for person in range(6)
    ]
    assert max(apart) <= bound * (1 + 1e-4)  # a grid of a millionth of the noise
    assert max(apart) > 0.9 * bound


def test_an_empty_draw_is_a_step_of_noise_with_the_deviation_of_the_plan() -> None:
    promise = plan(sampling_rate=1e-9, nominal_units=10**9)
    setting = Setting(promise, SimulationChance(1))
    steps = 60
    moved = []
    for _ in range(steps):
        before = setting.flat()
        setting.mechanism.step(setting.loss)
        moved.append((setting.flat() - before).double())
    sensitivity = math.sqrt(0.5**2 + 0.25**2)
    noise = torch.cat(moved) * promise.denominator / (promise.noise_multiplier * sensitivity)
    assert (noise != 0).all()  # every weight of every group
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01


def test_sums_are_divided_by_a_public_number() -> None:
    """Neither the number of people nor that of the drawn may show as a scale."""
    once, half = (Setting(plan(nominal_units=n), Replay()).moved() for n in (10, 20))
    assert torch.allclose(once, 2 * half, atol=1e-5)
    # The step of all is the sum of the steps of two halves, not their mean.
    few = Setting(plan(), Replay(), PEOPLE[PEOPLE < 3]).moved()
    others = Setting(plan(), Replay(), PEOPLE[PEOPLE >= 3]).moved()
    assert torch.allclose(once, few + others, atol=1e-5)


def test_parts_of_a_step_change_nothing() -> None:
    whole = Setting(plan(), SimulationChance(3), max_rows=1000).moved(3)
    for max_rows in (1, 4, 9):
        parts = Setting(plan(), SimulationChance(3), max_rows=max_rows).moved(3)
        assert torch.allclose(whole, parts, atol=1e-6)


def test_a_person_with_broken_frames_does_not_stop_the_step() -> None:
    setting = Setting(plan(), Replay())
    setting.data[PEOPLE == 2] = torch.nan
    without = Setting(plan(), Replay(), PEOPLE[PEOPLE != 2]).moved()
    assert torch.allclose(setting.moved(), without, atol=1e-6)


def test_a_step_is_charged_before_anything_moves() -> None:
    charged = []

    def refuse(steps):
        charged.append(steps)
        if len(charged) > 2:
            raise OSError("the disk is full")

    setting = Setting(plan(), SimulationChance(4), charge=refuse)
    setting.moved(2)
    before = setting.flat()
    looked = []
    with pytest.raises(OSError, match="disk"):
        setting.mechanism.step(lambda frames: looked.append(frames) or setting.loss(frames))
    assert charged == [1, 1, 1]
    assert not looked
    assert torch.equal(before, setting.flat())


def test_no_gradient_is_left_before_or_after_a_step() -> None:
    setting = Setting(plan(), SimulationChance(5))
    with setting.mechanism:
        setting.moved()
        assert all(p.grad is None for p in setting.model.parameters())
        assert not setting.loss(torch.arange(4)).requires_grad
    assert all(p.requires_grad for p in setting.model.parameters())


def test_noise_is_never_the_same_twice() -> None:
    promise = plan(sampling_rate=1e-9)
    a, b = (Setting(promise, SystemChance()).moved() for _ in range(2))
    assert not torch.isin(a, b).any()


def test_an_optimiser_of_other_weights_is_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
    for weights in (model[0].parameters(), [*model.parameters(), nn.Parameter(torch.ones(1))]):
        with pytest.raises(ValueError, match="the optimiser moves"):
            Mechanism(
                model, GROUPS, subjects=PEOPLE, plan=plan(), chance=SimulationChance(0),
                optimiser=torch.optim.SGD(weights, lr=1.0), charge=lambda _: None,
            )  # fmt: skip
    assert all(p.requires_grad for p in model.parameters())
