"""The private arm: its noise, its people, and what its ledgers come to."""

import pytest

from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from simulations.arms import PRIVATE, PUBLIC
from simulations.experiment import arms_of
from simulations.loop import run_plain
from simulations.private_arm import privacy_result, run_in_simulation
from simulations.scenario import load_scenario
from tests.federation import write_sites
from tests.fl_client.test_private_round import PLAN, private_federation


def test_noise_keeps_epsilon_over_all_rounds() -> None:
    arm = load_scenario("demo").private
    plan = arm.plan()
    spend = Spend(Kind(plan.noise_multiplier, plan.sampling_rate), arm.rounds * arm.steps_per_round)
    assert 0.99 * arm.epsilon < rdp_epsilon([spend], arm.delta) <= arm.epsilon


def test_private_arm_starts_from_public_people_and_nobody_else() -> None:
    plan = load_scenario("demo")
    arms = {a.name: a for a in arms_of(plan)}
    assert (arms[PRIVATE].start, arms[PUBLIC].start, arms[PUBLIC].is_public) == (PUBLIC, None, True)
    specs = plan.face_specs()
    public = specs.pop("public")
    others = max(s.first_person + s.num_people for s in specs.values())
    assert public.first_person == others  # nobody is in two groups, and nobody's number moved
    assert specs == plan.model_copy(update={"private": None}).face_specs()
    without = arms_of(plan.model_copy(update={"private": None}))
    assert {PUBLIC, PRIVATE}.isdisjoint(a.name for a in without)


def test_private_arm_trains_without_an_identity_head() -> None:
    plan = load_scenario("demo")
    training = plan.private.training(plan.finetuning)
    assert (plan.finetuning.reversal_scale, training.reversal_scale) == (1.0, 0.0)


def test_result_is_read_from_the_ledgers_and_equal_seeds_repeat_it(tmp_path) -> None:
    found = []
    for root in (tmp_path / "one", tmp_path / "two"):
        folders = write_sites(root)
        config = private_federation(root, folders, rounds=2)
        coordinator = run_plain(config, folders, run=run_in_simulation)
        assert all(s.refused == {} for s in coordinator.summaries)
        result = privacy_result(PLAN, [f.config for f in folders.values()])
        found.append((result, coordinator.summaries[-1].model_out))
    assert found[0] == found[1]
    bound = rdp_epsilon([Spend(Kind(3.0, 0.5), 4)], 1e-5)
    assert bound * 0.7 < found[0][0].epsilon <= bound
    assert found[0][0].accountant == "prv"
    assert found[0][0].is_simulation
    assert found[0][0].delta == pytest.approx(1e-5)
