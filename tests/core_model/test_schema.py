import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.schema import ParameterSchema, ParameterSpec, Role, SchemaError

SCHEMA = ParameterSchema(
    parameters=(
        ParameterSpec(name="encoder.w", shape=(2, 3), role=Role.ENCODER),
        ParameterSpec(name="au_head.weight", shape=(4, 3), role=Role.AU_HEAD),
        ParameterSpec(name="identity_head.weight", shape=(9, 3), role=Role.IDENTITY_HEAD),
        ParameterSpec(name="decoder.w", shape=(3,), role=Role.MAE_DECODER),
    )
)


def arrays() -> dict:
    return {p.name: np.zeros(p.shape, np.float32) for p in SCHEMA.shared("finetuning").parameters}


def test_what_may_leave() -> None:
    names = lambda s: [p.name for p in s.parameters]  # noqa: E731
    assert names(SCHEMA.shared("finetuning")) == ["encoder.w", "au_head.weight"]
    assert names(SCHEMA.shared("pretraining")) == ["encoder.w"]
    assert names(SCHEMA.shared("pretraining", with_decoder=True)) == ["encoder.w", "decoder.w"]


@given(
    roles=st.lists(st.sampled_from(Role), max_size=8),
    purpose=st.sampled_from(["pretraining", "finetuning"]),
    with_decoder=st.booleans(),
)
def test_an_identity_head_never_leaves(roles, purpose, with_decoder) -> None:
    schema = ParameterSchema(
        parameters=tuple(
            ParameterSpec(name=str(i), shape=(1,), role=r) for i, r in enumerate(roles)
        )
    )
    shared = schema.shared(purpose, with_decoder=with_decoder)
    assert Role.IDENTITY_HEAD not in {p.role for p in shared.parameters}


CASES = {
    "a weight is missing": lambda a: a.pop("encoder.w"),
    "identity head under its own name": lambda a: a.update(
        {"identity_head.weight": np.zeros((9, 3), np.float32)}
    ),
    "identity head under the encoder's name": lambda a: a.update(
        {"encoder.w": np.zeros((9, 3), np.float32)}
    ),
    "identity rows appended to the AU head": lambda a: a.update(
        {"au_head.weight": np.zeros((13, 3), np.float32)}
    ),
    "another type": lambda a: a.update({"encoder.w": np.zeros((2, 3), np.float64)}),
    "not a number": lambda a: a["encoder.w"].__setitem__((0, 0), np.nan),
}


@pytest.mark.parametrize("spoil", CASES.values(), ids=CASES.keys())
def test_refused(spoil) -> None:
    shared = SCHEMA.shared("finetuning")
    good = arrays()
    shared.check(good)
    spoil(good)
    with pytest.raises(SchemaError):
        shared.check(good)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@given(at=st.integers(0, 5))
def test_no_value_that_is_not_finite_hides(bad, at) -> None:
    sent = arrays()
    sent["encoder.w"].reshape(-1)[at] = bad
    with pytest.raises(SchemaError, match="not finite"):
        SCHEMA.shared("finetuning").check(sent)


def test_values_too_large_to_be_squared_are_finite() -> None:
    sent = arrays()
    sent["encoder.w"][:] = 3e38
    SCHEMA.shared("finetuning").check(sent)
