import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.norms import change_norm


@given(st.integers(0, 2**31), st.integers(1, 200_000))
def test_norm_is_that_of_numpy_in_double_precision(seed, size) -> None:
    chance = np.random.default_rng(seed)
    old = {"a": chance.normal(size=(size,)).astype(np.float32), "b": np.ones((2, 3), np.float32)}
    new = {k: v + chance.normal(size=v.shape).astype(np.float32) for k, v in old.items()}
    want = np.sqrt(sum(np.sum((new[k].astype(float) - old[k].astype(float)) ** 2) for k in old))
    assert change_norm(old, new) == pytest.approx(want, rel=1e-5)


def test_what_is_too_large_to_be_squared_is_infinite() -> None:
    old = {"a": np.zeros(3, np.float32)}
    assert change_norm(old, {"a": np.full(3, 3e38, np.float32)}) == np.inf
    assert change_norm(old, old) == 0.0
