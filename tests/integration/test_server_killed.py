"""Programs of a real federation killed at points of chance: it ends at the undisturbed weights."""

from collections import Counter

import pytest

from tests.integration.faults import run_with_faults
from tests.integration.server_folder import has_proxy

KILLS = ("training", "rounds", "worker")


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_killed_at_points_of_chance_it_ends_at_the_undisturbed_weights(tmp_path) -> None:
    found = run_with_faults(tmp_path, num_rounds=2, kills=KILLS, seed=3)
    assert found.kills == Counter(KILLS)
    assert found.rounds == [1, 2]
    assert found.logged == [("pilot", number) for number in (1, 2)]
    assert found.losses == 0
    assert found.is_undisturbed


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_no_budget_is_spent_twice_whoever_is_killed(tmp_path) -> None:
    """A worker that dies in a round has drawn noise for nothing; a server that dies has not."""
    kills = ("training", "rounds")
    found = run_with_faults(tmp_path, num_rounds=2, kills=kills, seed=1, is_private=True)
    assert found.kills == Counter(kills)
    assert (found.rounds, found.losses, found.interrupted) == ([1, 2], 0, 1)
    spent = found.spending
    assert spent.signed == spent.admitted  # nothing that was signed was trained again
    assert spent.charged == spent.admitted + spent.cut_off
    assert spent.is_stated
