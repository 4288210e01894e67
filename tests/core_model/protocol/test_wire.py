import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.config import FinetuneConfig, encoder_config
from core_model.protocol.messages import RoundPlan, RoundRequest, SiteUpdate, digest
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import (
    decode_reply,
    decode_request,
    encode_request,
    encode_update,
    read_records,
    write_records,
)
from core_model.protocol.wire import received_as, rounded, sent_as
from core_model.schema import SchemaError

WEIGHTS = st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4)
BEFORE = {"w": np.float32([0.5, -2.0, 0.0, 100.0])}


def arrays(values):
    return {"w": np.array(values, np.float32)}


def over_the_wire(content):
    return read_records(write_records(content))


def plan_for(weights, wire):
    return RoundPlan(
        run_id="r", round=1, round_of_purpose=1, num_rounds=1, nonce="ab" * 16, seed=1,
        model_in=digest(weights), encoder=encoder_config("micro"), action_units=(1, 2),
        training=FinetuneConfig(), wire=wire,
    )  # fmt: skip


@given(WEIGHTS)
def test_a_rounded_model_is_rounded_once(values) -> None:
    once = rounded(arrays(values), "float16")
    assert once["w"].dtype == np.float32
    assert digest(rounded(once, "float16")) == digest(once)
    assert np.allclose(once["w"], values, rtol=2**-11, atol=2**-25)


@given(WEIGHTS, WEIGHTS)
def test_what_arrives_is_off_by_a_part_of_the_change(before, after) -> None:
    start = rounded(arrays(before), "float16")
    sent = sent_as(arrays(after), start, "float16")
    got = received_as(sent, start, "float16")["w"]
    change = np.abs(np.float64(after) - start["w"])
    # Of the change 2**-11, and float32's own rounding of the difference and of the sum.
    most = change * 2**-11 + 2**-24 * (change + np.abs(got)) + 2**-25
    assert (np.abs(np.float64(got) - np.float32(after)) <= most * (1 + 1e-6)).all()


@given(WEIGHTS)
def test_float32_travels_as_it_is(values) -> None:
    sent = sent_as(arrays(values), BEFORE, "float32")
    assert digest(received_as(sent, BEFORE, "float32")) == digest(arrays(values))


def test_a_request_in_float16_arrives_to_the_bit_in_half_the_bytes() -> None:
    weights = rounded({"w": np.random.default_rng(0).normal(size=(64, 64))}, "float16")
    sizes = {}
    for wire in ("float32", "float16"):
        request = RoundRequest(plan_for(weights, wire), weights)
        raw = write_records(encode_request(request))
        got = decode_request(read_records(raw))
        assert digest(got.arrays) == got.plan.model_in
        got.arrays["w"] += 1  # free to be changed
        sizes[wire] = len(raw)
    assert sizes["float32"] - sizes["float16"] == pytest.approx(2 * 64 * 64, abs=100)


def test_a_request_that_is_not_in_the_type_of_its_plan_is_refused() -> None:
    content = encode_request(RoundRequest(plan_for(BEFORE, "float16"), BEFORE))
    other = encode_request(RoundRequest(plan_for(BEFORE, "float32"), BEFORE))
    content["plan"] = other["plan"]
    with pytest.raises(RecordError, match="float32, as the plan says"):
        decode_request(over_the_wire(content))


def test_a_weight_that_float16_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond 65504"):
        rounded(arrays([1, 7e4, 0, 0]), "float16")


def test_an_update_in_float16_keeps_its_bytes() -> None:
    update = SiteUpdate("site-a", sent_as(arrays([1, 2, 3, 4]), BEFORE, "float16"), b"x", (1,))
    got = decode_reply(over_the_wire(encode_update(update)))
    assert isinstance(got, SiteUpdate)
    assert got.arrays["w"].dtype == np.float16
    assert digest(got.arrays) == digest(update.arrays)
    wide = dataclasses.replace(update, arrays={"w": np.float64([1.0])})
    with pytest.raises(RecordError, match="float32 or in float16"):
        encode_update(wide)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (arrays([1, 2, 3, 4]), "expected float16"),
        ({"x": np.float16([1, 2, 3, 4])}, "not asked for"),
        ({"w": np.float16([[1], [2], [3], [4]])}, "not asked for in the shape"),
        ({"w": np.float16([1])}, "not asked for in the shape"),  # would be added to every weight
    ],
)
def test_changes_that_were_not_asked_for_are_refused(sent, said) -> None:
    with pytest.raises(SchemaError, match=said):
        received_as(sent, BEFORE, "float16")
