"""Weights in one array with an index: back as they were, and nothing that a stranger bends."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core_model.protocol.messages import digest
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import read_records, write_records
from core_model.protocol.weight_records import decode_weights, encode_weights, index_of

WEIGHTS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float32([np.pi]).reshape(())}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.lists(SHAPES, min_size=1, max_size=5), st.sampled_from(["float32", "float16"]))
def test_they_come_back_to_the_bit(shapes, wire) -> None:
    chance = np.random.default_rng(0)
    weights = {f"w{k}": np.asarray(chance.normal(size=s), wire) for k, s in enumerate(shapes)}
    content = read_records(write_records(encode_weights(weights)))
    got = decode_weights(content)
    assert list(got) == list(weights)
    assert digest(got) == digest(weights)
    assert index_of(content) == {name: a.shape for name, a in weights.items()}
    assert not any(array.flags.writeable for array in got.values())


def test_arrays_that_are_not_contiguous_are_sent_as_they_look() -> None:
    turned = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    assert np.array_equal(decode_weights(encode_weights(turned))["w"], turned["w"])


def test_there_is_one_array_however_many_weights() -> None:
    many = {f"w{k}": np.zeros(3, np.float32) for k in range(100)}
    assert len(encode_weights(many)["arrays"]) == 1


@pytest.mark.parametrize(
    "weights",
    [{}, {"w": np.zeros(2)}, {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float16)}],
)
def test_other_types_do_not_travel(weights) -> None:
    with pytest.raises(RecordError, match="float32 or in float16"):
        encode_weights(weights)


def spoiled(index=None, **array) -> RecordDict:
    content = encode_weights(WEIGHTS)
    if index is not None:
        content["index"] = ConfigRecord({"json": index})
    if array:
        whole = content["arrays"]["weights"]
        kept = {k: getattr(whole, k) for k in ("dtype", "shape", "stype", "data")}
        content["arrays"] = ArrayRecord({"weights": Array(**{**kept, **array})})
    return content


def with_two_arrays() -> RecordDict:
    content = encode_weights(WEIGHTS)
    content["arrays"]["face"] = Array(np.zeros(4, np.float32))
    return content


@pytest.mark.parametrize(
    "content",
    [
        spoiled("no json"),
        spoiled("[]"),
        spoiled(json.dumps([["b", [2, 3]]])),  # one value is in no weight
        spoiled(json.dumps([["b", [2, 3]], ["a", [2]]])),
        spoiled(json.dumps([["b", [2, 3]], ["b", []]])),
        spoiled(json.dumps([["b", [-2, -3]], ["a", []]])),
        spoiled(json.dumps([["b", [1 << 50]], ["a", []]])),
        spoiled(json.dumps([["b", [True, 6]], ["a", []]])),
        spoiled(json.dumps([["b", [1] * 8 + [6]], ["a", []]])),
        spoiled(json.dumps([["b" * 300, [2, 3]], ["a", []]])),
        spoiled(json.dumps([["b", [2, 3], "face"], ["a", []]])),
        spoiled(json.dumps([[f"w{k}", [0]] for k in range(10_001)])),
        spoiled(shape=(6,)),
        spoiled(shape=(1, 7)),
        spoiled(data=b"\0" * 27),
        spoiled(data=b"\0" * 29),
        spoiled(stype="numpy.ndarray"),
        spoiled(dtype="float16"),
        spoiled(stype="omote.float16.le"),
        with_two_arrays(),
        RecordDict({"arrays": ConfigRecord(), "index": ConfigRecord({"json": "[]"})}),
        RecordDict({"arrays": ArrayRecord(), "index": ArrayRecord()}),
    ],
)
def test_what_a_stranger_bends_is_refused(content) -> None:
    with pytest.raises(RecordError):
        decode_weights(content)


def test_more_bytes_than_asked_for_are_refused() -> None:
    assert decode_weights(encode_weights(WEIGHTS), 28)
    with pytest.raises(RecordError, match="at most 27 bytes"):
        decode_weights(encode_weights(WEIGHTS), 27)
