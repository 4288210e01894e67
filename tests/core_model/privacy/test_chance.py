import os

import numpy as np
import pytest
import torch
from scipy import stats

from core_model.privacy.chance import Chance, SimulationChance, SystemChance, add_noise

LENGTHS = (1, 2, 3, 32_769, 300_001)


@pytest.mark.parametrize("num", LENGTHS)
def test_noise_is_normal(num: int) -> None:
    normal = SimulationChance(5).gaussian(num)
    assert normal.shape == (num,)
    assert normal.dtype == torch.float64
    assert stats.kstest(normal.numpy(), "norm").pvalue > 0.01


def test_noise_has_no_memory() -> None:
    """Neighbours, and places that share a pair or a block, are independent."""
    z = SimulationChance(6).gaussian(1 << 19).numpy()
    for lag in (1, 1 << 14, 1 << 15, 1 << 18):
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 5 / np.sqrt(len(z) - lag)
        squares = z**2
        assert abs(np.corrcoef(squares[:-lag], squares[lag:])[0, 1]) < 5 / np.sqrt(len(z) - lag)


def test_tails_reach_as_far_as_they_should() -> None:
    z = SimulationChance(7).gaussian(2_000_000).abs()
    for limit in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(limit) * len(z)
        assert abs(int((z > limit).sum()) - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 1.0])
def test_coins(rate: float) -> None:
    heads = int(SimulationChance(8).bernoulli(100_000, rate).sum())
    assert stats.binomtest(heads, 100_000, rate).pvalue > 0.01


def test_uniform_numbers() -> None:
    u = SimulationChance(9).uniform(100_000)
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert u.min() >= 0
    assert u.max() < 1


def test_a_simulation_repeats_itself_whatever_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    once = SimulationChance(1).gaussian(600_000)
    try:
        torch.set_num_threads(1 if threads > 1 else 3)
        assert torch.equal(once, SimulationChance(1).gaussian(600_000))
    finally:
        torch.set_num_threads(threads)
    other = SimulationChance(2).gaussian(600_000)
    assert not torch.isin(once, other).any()
    assert not SimulationChance(1).is_private


def test_the_system_never_repeats_itself() -> None:
    a, b = SystemChance(), SystemChance()
    draws = [c.gaussian(1000) for c in (a, b, a, b)]
    for i, draw in enumerate(draws):
        for other in draws[:i]:
            assert not torch.isin(draw, other).any()
    assert stats.kstest(a.gaussian(100_000).numpy(), "norm").pvalue > 1e-6
    assert a.is_private


def test_nothing_of_the_system_chance_can_be_kept_or_seeded() -> None:
    chance = SystemChance()
    chance.gaussian(10)
    assert vars(chance) == {}  # no state to check-point
    with pytest.raises(TypeError):
        SystemChance(1)  # type: ignore[call-arg]
    torch.manual_seed(0)
    np.random.default_rng(0)
    first = chance.uniform(4)
    torch.manual_seed(0)
    assert not np.array_equal(first, chance.uniform(4))


def test_a_forked_process_draws_other_noise() -> None:
    chance = SystemChance()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, chance.uniform(4).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(reading, 32), np.float64)
    assert not np.isin(theirs, chance.uniform(4)).any()


class NoNoise(Chance):
    """Noise that is always zero: shows what the grid does."""

    is_private = False

    def _key(self) -> bytes:
        return bytes(48)

    def gaussian(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.float64)


def test_sums_leave_on_a_grid_that_hides_their_last_digits() -> None:
    sums = torch.tensor([1e-9, -1e-9, 0.3, 0.3 + 1e-8, 5.0])
    out = add_noise(sums, 0.7, NoNoise())
    steps = out.double() / (0.5 * 2.0**-20)
    assert torch.equal(steps, steps.round())
    assert out[0] == out[1] == 0.0  # where float32 is finest, nothing shows
    assert out.dtype == torch.float32
    assert torch.allclose(out, sums, atol=0.7e-6)


def test_noise_has_the_deviation_asked_for() -> None:
    out = add_noise(torch.full((200_000,), 3.0), 2.5, SimulationChance(3))
    assert stats.kstest((out.numpy() - 3) / 2.5, "norm").pvalue > 0.01
