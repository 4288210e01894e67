import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core_model.privacy.chance import SimulationChance
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.sampling import Draw, SubjectSampler


def plan(**changes):
    return PrivacyPlan.model_validate({
        "sampling_rate": 0.3, "nominal_units": 10, "frames_per_subject": 4, "steps_per_round": 1,
        "noise_multiplier": 1.0, **changes,
    })  # fmt: skip


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    frames=st.integers(1, 9),
    views=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_a_unit_is_one_person_with_the_same_number_of_rows(counts, frames, views, seed) -> None:
    people = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
    promise = plan(frames_per_subject=frames, views_per_frame=views, sampling_rate=0.6)
    draw = SubjectSampler(people, promise, SimulationChance(seed)).draw()
    assert draw.frames.shape[1] == frames * views
    drawn = []
    for unit in draw.frames:
        assert len(set(people[unit].tolist())) == 1
        drawn.append(int(people[unit[0]]))
        assert torch.equal(unit, unit.view(-1, views)[:, :1].expand(-1, views).reshape(-1))
        assert 2 * len(set(unit.tolist())) >= min(frames, counts[drawn[-1]])
    assert len(set(drawn)) == len(drawn)


def test_people_are_drawn_at_the_rate_of_the_plan_and_apart_from_each_other() -> None:
    sampler = SubjectSampler(torch.arange(3).repeat_interleave(5), plan(), SimulationChance(1))
    times = 4000
    drawn = np.zeros((times, 3))
    for step in range(times):
        drawn[step, [int(unit[0]) // 5 for unit in sampler.draw().frames]] = 1
    for person in range(3):
        assert stats.binomtest(int(drawn[:, person].sum()), times, 0.3).pvalue > 1e-4
    for a, b in ((0, 1), (1, 2)):  # people, and one step after the other
        assert abs(np.corrcoef(drawn[:, a], drawn[:, b])[0, 1]) < 4 / np.sqrt(times)
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 4 / np.sqrt(times)


def test_frames_spread_over_time() -> None:
    promise = plan(sampling_rate=1.0)
    sampler = SubjectSampler(torch.zeros(100, dtype=torch.int64), promise, SimulationChance(2))
    seen = set()
    for _ in range(300):
        (unit,) = sampler.draw().frames
        assert [int(frame) // 25 for frame in unit] == [0, 1, 2, 3]
        seen |= set(unit.tolist())
    assert len(seen) > 90  # every frame may come


def test_whoever_has_few_frames_gives_them_again() -> None:
    sampler = SubjectSampler(torch.tensor([7, 7]), plan(sampling_rate=1.0), SimulationChance(3))
    assert sorted(sampler.draw().frames[0].tolist()) == [0, 0, 1, 1]


def test_frames_as_units() -> None:
    promise = plan(unit="frame", views_per_frame=2, sampling_rate=1.0)
    draw = SubjectSampler(torch.zeros(5, dtype=torch.int64), promise, SimulationChance(4)).draw()
    assert draw.frames.tolist() == [[i, i] for i in range(5)]


def test_a_step_may_draw_nobody() -> None:
    sampler = SubjectSampler(torch.arange(2), plan(sampling_rate=1e-9), SimulationChance(5))
    draw = sampler.draw()
    assert draw.frames.shape == (0, 4)
    assert list(draw.micro_batches(10)) == []


@pytest.mark.parametrize(("max_rows", "sizes"), [(1, [1] * 5), (8, [2, 2, 1]), (99, [5])])
def test_micro_batches_never_split_a_unit(max_rows, sizes) -> None:
    draw = Draw(torch.arange(20).view(5, 4))
    parts = list(draw.micro_batches(max_rows))
    assert [len(p) for p in parts] == sizes
    assert torch.equal(torch.cat([p.frames for p in parts]), draw.frames)


def test_leaving_somebody_out_changes_nobody_elses_part() -> None:
    """Rows of others depend on their own frames alone, whatever number others carry."""
    people = torch.arange(4).repeat_interleave(3)
    full = SubjectSampler(people, plan(sampling_rate=1.0), SimulationChance(6))
    fewer = SubjectSampler(people[people != 2], plan(sampling_rate=1.0), SimulationChance(6))
    assert len(full.draw()) == 4
    assert len(fewer.draw()) == 3
