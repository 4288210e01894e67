import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.schema import ParameterSchema, ParameterSpec, Role
from fl_server.aggregation import LIMIT, Aggregator

AUS = (1, 2, 4)
SCHEMA = ParameterSchema(
    parameters=(
        ParameterSpec(name="encoder.w", shape=(5, 2), role=Role.ENCODER),
        ParameterSpec(name="au_head.weight", shape=(3, 2), role=Role.AU_HEAD),
        ParameterSpec(name="au_head.bias", shape=(3,), role=Role.AU_HEAD),
    )
)


def arrays(seed):
    chance = np.random.default_rng(seed)
    return {p.name: chance.normal(size=p.shape).astype(np.float32) for p in SCHEMA.parameters}


def aggregate(updates, old):
    aggregator = Aggregator(SCHEMA, AUS)
    for update, weight, rows in updates:
        aggregator.fold(update, weight, rows)
    return aggregator.mean(old)


def written_out(updates, old):
    """The same, one number at a time."""
    result = {name: array.astype(np.float64) for name, array in old.items()}
    for place in np.ndindex(5, 2):
        total = sum(w for _, w, _ in updates)
        if total:
            value = sum(w * float(u["encoder.w"][place]) for u, w, _ in updates)
            result["encoder.w"][place] = value / total
    for row, au in enumerate(AUS):
        total = sum(rows.get(au, 0.0) for _, _, rows in updates)
        for name in ("au_head.weight", "au_head.bias"):
            if total:
                result[name][row] = (
                    sum(rows.get(au, 0.0) * u[name][row].astype(np.float64)
                        for u, _, rows in updates) / total
                )  # fmt: skip
    return result


WEIGHTS = st.floats(0.01, 50)
UPDATES = st.lists(
    st.tuples(
        st.integers(0, 10**6).map(arrays),
        WEIGHTS,
        st.dictionaries(st.sampled_from(AUS), WEIGHTS),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(updates=UPDATES)
def test_agrees_with_a_loop(updates) -> None:
    old = arrays("old".__hash__() % 1000)
    got, want = aggregate(updates, old), written_out(updates, old)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=2e-7, rtol=2e-7)
        assert got[name].dtype == np.float32


@settings(deadline=None)
@given(updates=UPDATES, data=st.data())
def test_free_of_order_to_the_bit(updates, data) -> None:
    old = arrays(1)
    shuffled = data.draw(st.permutations(updates))
    one, other = aggregate(updates, old), aggregate(shuffled, old)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(-4, 4))
def test_linear(seed, factor) -> None:
    old = arrays(0)
    rows = dict.fromkeys(AUS, 1.0)
    pair = [(arrays(seed), 1.0, rows), (arrays(seed + 1), 3.0, rows)]
    scaled = [({n: (factor * a).astype(np.float32) for n, a in u.items()}, w, r)
              for u, w, r in pair]  # fmt: skip
    one, other = aggregate(pair, old), aggregate(scaled, old)
    for name in one:
        np.testing.assert_allclose(other[name], factor * one[name], atol=3e-6)


def test_rows_without_labels_keep_the_old_value_exactly() -> None:
    old = arrays(3)
    got = aggregate([(arrays(4), 1.0, {2: 1.0}), (arrays(5), 2.0, {})], old)
    for name in ("au_head.weight", "au_head.bias"):
        assert np.array_equal(got[name][[0, 2]], old[name][[0, 2]])
        assert np.array_equal(got[name][1], arrays(4)[name][1])
    assert not np.array_equal(got["encoder.w"], old["encoder.w"])


def test_a_single_site_gives_its_own_weights_back() -> None:
    update = arrays(6)
    got = aggregate([(update, 0.3, dict.fromkeys(AUS, 0.3))], arrays(7))
    for name in update:
        np.testing.assert_allclose(got[name], update[name], atol=1e-9, rtol=1e-7)


def test_nobody_answered() -> None:
    old = arrays(8)
    got = aggregate([], old)
    assert all(np.array_equal(got[name], old[name]) for name in old)


def test_values_that_would_overflow_are_refused_and_leave_no_trace() -> None:
    aggregator = Aggregator(SCHEMA, AUS)
    good, rows = arrays(9), dict.fromkeys(AUS, 1.0)
    huge = {name: array * np.float32(1e12) for name, array in good.items()}
    aggregator.fold(good, 1.0, rows)
    with pytest.raises(ValueError, match="too large"):
        aggregator.fold(huge, 1.0, rows)
    assert np.allclose(aggregator.mean(arrays(1))["encoder.w"], good["encoder.w"], atol=1e-9)


def test_the_largest_values_add_up_exactly() -> None:
    """Both ends of what is let in, at once: nothing wraps into another number."""
    update = {n: np.full_like(a, LIMIT) for n, a in arrays(0).items()}
    update["encoder.w"][0] = -LIMIT
    update["encoder.w"][1] = -0.0
    got = aggregate([(update, 1.0, dict.fromkeys(AUS, 1.0))] * 50, arrays(1))
    assert all(np.array_equal(got[name], update[name]) for name in update)


def test_what_one_site_sends_takes_no_room_from_the_others() -> None:
    good, rows = arrays(9), dict.fromkeys(AUS, 1.0)
    large = {name: np.full_like(array, LIMIT) for name, array in good.items()}
    updates = [(good, 1.0, rows), *[(large, 1.0, rows)] * 20]
    one, other = aggregate(updates, good), aggregate(updates[::-1], good)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_would_spoil_the_mean_are_refused(weight) -> None:
    rows = dict.fromkeys(AUS, 1.0)
    for weights in ((weight, rows), (1.0, rows | {2: weight})):
        aggregator = Aggregator(SCHEMA, AUS)
        with pytest.raises(ValueError, match="positive"):
            aggregator.fold(arrays(1), *weights)
