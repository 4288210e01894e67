"""Our accounting against two independent libraries, and in time."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.epsilon import ORDERS as SERVER_ORDERS
from consent.epsilon import Spent, epsilon_of
from core_model.privacy import frame_unit
from core_model.privacy.accounting import (
    ORDERS,
    Kind,
    Spend,
    calibrate,
    merged,
    prv_epsilon,
    rdp_epsilon,
    rdp_epsilons,
    rdp_of_step,
    report,
)
from core_model.privacy.frame_unit import person_epsilon

# noise multiplier, sampling rate, steps, delta: small sites, large ones, everybody in each step
GRID = [
    (1.0, 0.0102, 1953, 1e-6), (3.0, 0.1, 500, 1e-3), (2.0, 0.05, 500, 1e-4),
    (5.0, 0.2, 300, 1e-3), (20.0, 1.0, 100, 1e-4), (0.8, 0.01, 400, 1e-5),
    (4.0, 0.5, 60, 1e-5), (10.0, 0.5, 1000, 1e-5), (1.3, 0.25, 20, 1e-5),
]  # fmt: skip


@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), GRID)
def test_opacus_prv_agrees_with_dp_accounting(sigma, q, steps, delta) -> None:
    pld = pytest.importorskip("dp_accounting.pld", reason="pip install omote[accounting]")
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)
    assert prv_epsilon([Spend(Kind(sigma, q), steps)], delta) == pytest.approx(
        accountant.get_epsilon(delta), abs=0.02
    )


@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), GRID)
def test_our_rdp_agrees_with_opacus_and_dp_accounting(sigma, q, steps, delta) -> None:
    from opacus.accountants.analysis import rdp

    costs = rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=list(ORDERS))
    assert rdp_of_step(Kind(sigma, q)) == pytest.approx(np.array(costs), rel=1e-6)
    own = rdp_epsilon([Spend(Kind(sigma, q), steps)], delta)
    assert own >= prv_epsilon([Spend(Kind(sigma, q), steps)], delta) - 0.01
    dpa = pytest.importorskip("dp_accounting.rdp", reason="pip install omote[accounting]")
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    # Its series for orders between whole numbers does not converge at large rates.
    accountant = dpa.RdpAccountant([a for a in ORDERS if a % 1 == 0 or q < 0.2])
    accountant.compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)
    assert own == pytest.approx(accountant.get_epsilon(delta), abs=0.02)


def test_site_and_server_count_alike() -> None:
    assert tuple(ORDERS) == SERVER_ORDERS
    for sigma, q, steps, delta in GRID:
        said = Spent(noise_multiplier=str(sigma), sample_rate=str(q), steps=steps)
        own = rdp_epsilon([Spend(Kind(sigma, q), steps)], delta)
        assert own == pytest.approx(epsilon_of([said], delta), abs=1e-5)


@given(
    sigma=st.floats(0.4, 50), q=st.floats(0.001, 1), steps=st.integers(1, 500),
    more=st.integers(1, 500),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_epsilon_rises_with_steps_and_falls_with_noise(sigma, q, steps, more) -> None:
    few, many = ([Spend(Kind(sigma, q), n)] for n in (steps, steps + more))
    assert rdp_epsilon(few, 1e-5) <= rdp_epsilon(many, 1e-5) + 1e-9
    assert rdp_epsilon([Spend(Kind(2 * sigma, q), steps)], 1e-5) <= rdp_epsilon(few, 1e-5) + 1e-9
    split = [Spend(Kind(sigma, q), steps), Spend(Kind(sigma, q), more)]
    assert rdp_epsilon(split, 1e-5) == rdp_epsilon(many, 1e-5)


def test_no_steps_cost_nothing() -> None:
    assert rdp_epsilon([], 1e-5) == 0
    assert report([], 1e-5) == (0.0, "rdp")
    assert prv_epsilon([Spend(Kind(1.0, 0.1), 0)], 1e-5) == 0
    assert merged([Spend(Kind(1.0, 0.1), 0)]) == ()


@pytest.mark.parametrize("target", [0.5, 1, 2, 4, 8])
def test_calibrated_noise_keeps_the_target_and_wastes_little(target) -> None:
    sigma = calibrate(target, sampling_rate=0.25, steps=80, delta=1e-5)
    used = rdp_epsilon([Spend(Kind(sigma, 0.25), 80)], 1e-5)
    assert target * 0.99 < used <= target
    assert len(f"{sigma:g}".replace(".", "").lstrip("0")) <= 4


def test_target_that_nothing_reaches_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="fewer steps"):
        calibrate(1e-9, sampling_rate=1.0, steps=10**6, delta=1e-12)


def test_report_over_200_rounds_takes_less_than_a_second() -> None:
    import opacus.accountants  # noqa: F401 - the import alone takes seconds, once

    rounds = [Spend(Kind(4.0 + k % 2, 0.1), 20) for k in range(200)]
    started = time.process_time()
    found = report(rounds, 1e-5)
    assert time.process_time() - started < 1.0
    assert found.accountant == "prv"
    assert found.epsilon < rdp_epsilon(rounds, 1e-5)


def test_report_over_many_kinds_falls_back_to_rdp() -> None:
    rounds = [Spend(Kind(1.1 + k / 1000, 0.1), 20) for k in range(200)]
    assert report(rounds, 1e-5) == (rdp_epsilon(rounds, 1e-5), "rdp")


def test_filter_over_10_000_people_takes_less_than_50_ms() -> None:
    chance = np.random.default_rng(0)
    kinds = [Kind(1.1, 0.1), Kind(2.0, 0.25), Kind(4.0, 0.5)]
    for kind in kinds:
        rdp_of_step(kind)
    steps = chance.integers(0, 500, (10_000, 3)).astype(float)  # every history another
    started = time.process_time()
    found = rdp_epsilons(steps, kinds, 1e-5)
    assert time.process_time() - started < 0.05
    for person in range(0, 10_000, 1999):
        own = [Spend(k, int(n)) for k, n in zip(kinds, steps[person], strict=True)]
        assert found[person] == pytest.approx(rdp_epsilon(own, 1e-5))


def test_a_promise_about_a_frame_is_none_about_a_person() -> None:
    """The figure that everybody should see once: epsilon 2 of a frame, hundreds of a person."""
    pytest.importorskip("dp_accounting", reason="pip install omote[accounting]")
    q = 1024 / (1000 * 50)
    sigma = calibrate(2.0, sampling_rate=q, steps=1000, delta=1e-6)
    found = person_epsilon([Spend(Kind(sigma, q), 1000)], 50, 1e-4)
    assert found.method == "mixture of Gaussians"
    assert 200 < found.epsilon < 400


def test_one_frame_a_person_is_the_same_promise() -> None:
    pytest.importorskip("dp_accounting", reason="pip install omote[accounting]")
    spend = [Spend(Kind(2.0, 0.05), 500)]
    found = person_epsilon(spend, 1, 1e-4).epsilon
    assert found == pytest.approx(prv_epsilon(spend, 1e-4), abs=0.02)


def test_without_the_package_the_bound_is_larger_and_says_so(monkeypatch) -> None:
    spend = [Spend(Kind(40.0, 0.01), 100)]
    exact = person_epsilon(spend, 5, 1e-5)
    monkeypatch.setattr(frame_unit, "find_spec", lambda name: None)
    bound = person_epsilon(spend, 5, 1e-5)
    assert bound.method == "group privacy"
    assert exact.epsilon <= bound.epsilon < math.inf
    assert person_epsilon([Spend(Kind(0.5, 0.5), 1000)], 100, 1e-5).epsilon == math.inf


def test_accounting_imports_no_torch() -> None:
    code = "import sys, core_model.privacy.accounting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
