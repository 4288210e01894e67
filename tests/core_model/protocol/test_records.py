import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from core_model.config import EncoderConfig, FinetuneConfig
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    digest,
)
from core_model.protocol.records import (
    RAW_FLOAT32,
    RecordError,
    decode_reply,
    decode_request,
    decode_site_id,
    encode_refusal,
    encode_request,
    encode_site_id,
    encode_update,
    encode_weights,
)

ARRAYS = {
    "encoder.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "encoder.column": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "encoder.scalar": np.float32(3).reshape(()),
    "encoder.empty": np.zeros((0, 4), np.float32),
}
UPDATE = SiteUpdate("site-a", ARRAYS, b"\x00\xff signed", (1, 2), {1: 7, 2: 0})
PLAN = RoundPlan(
    run_id="run",
    round=2,
    round_of_purpose=1,
    num_rounds=3,
    nonce="ab" * 16,
    seed=1,
    model_in=digest(ARRAYS),
    encoder=EncoderConfig(),
    action_units=(1, 2),
    training=FinetuneConfig(),
)


def over_the_wire(content):
    raw = recorddict_to_proto(content).SerializeToString()
    return recorddict_from_proto(ProtoRecordDict.FromString(raw))


def test_update_round_trip() -> None:
    got = decode_reply(over_the_wire(encode_update(UPDATE)))
    assert digest(got.arrays) == digest(ARRAYS)
    assert {n: a.shape for n, a in got.arrays.items()} == {n: a.shape for n, a in ARRAYS.items()}
    assert (got.site_id, got.attestation) == (UPDATE.site_id, UPDATE.attestation)
    assert (got.labelled_aus, got.labelled_frames) == ((1, 2), {1: 7, 2: 0})


def test_request_round_trip_and_its_arrays_may_be_changed() -> None:
    got = decode_request(over_the_wire(encode_request(RoundRequest(PLAN, ARRAYS))))
    assert got.plan == PLAN
    assert digest(got.arrays) == PLAN.model_in
    got.arrays["encoder.w"] += 1


def test_weights_are_packed_once_for_many_sites() -> None:
    weights, request = encode_weights(ARRAYS), RoundRequest(PLAN, ARRAYS)
    one, other = encode_request(request, weights), encode_request(request, weights)
    assert one["arrays"]["encoder.w"].data is other["arrays"]["encoder.w"].data


@pytest.mark.parametrize("code", RefusalCode)
def test_refusal_round_trip(code) -> None:
    assert decode_reply(over_the_wire(encode_refusal(code))) is code


def test_site_id_round_trip() -> None:
    assert decode_site_id(over_the_wire(encode_site_id("site-a"))) == "site-a"


def test_weights_of_another_type_are_never_sent() -> None:
    with pytest.raises(RecordError, match="float32"):
        encode_weights({"w": np.zeros(3)})


def raw(data=b"\x00" * 12, shape=(3,), stype=RAW_FLOAT32, dtype="float32", name="w"):
    return {"arrays": ArrayRecord({name: Array(dtype, shape, stype, data)})}


def fields(**changes):
    usual = {"site-id": "a", "attestation": b"x", "labelled-aus": [], "counted-aus": [],
             "counts": []}  # fmt: skip
    changed = {**usual, **{k.replace("_", "-"): v for k, v in changes.items()}}
    return {"update": ConfigRecord({k: v for k, v in changed.items() if v is not None})}


TERABYTE = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }"
HOSTILE = {
    "nothing": {},
    "no weights": {**fields()},
    "an extra record": {**raw(), **fields(), "extra": ConfigRecord({"subject": "anna"})},
    "an extra record of weights": {**raw(), **fields(), "more": ArrayRecord()},
    "an extra metric": {**raw(), **fields(), "loss": MetricRecord({"loss": 0.5})},
    "an extra field": {**raw(), **fields(subject="anna")},
    "a missing field": {**raw(), **fields(counts=None)},
    "fields where weights belong": {"arrays": ConfigRecord(), **fields()},
    "weights where fields belong": {**raw(), "update": ArrayRecord()},
    "an npy header that claims a terabyte": {
        **raw((TERABYTE % 300_000_000_000).ljust(128), stype="numpy.ndarray"), **fields()},
    "an empty npy": {**raw(b"", stype="numpy.ndarray"), **fields()},
    "fewer bytes than the shape": {**raw(shape=(4,)), **fields()},
    "a shape beyond any memory": {**raw(shape=(1 << 40, 1 << 40)), **fields()},
    "a negative shape": {**raw(shape=(-1, -3)), **fields()},
    "doubles": {**raw(b"\x00" * 24, dtype="float64"), **fields()},
    "a name too long": {**raw(name="w" * 201), **fields()},
    "more bytes than asked for": {**raw(b"\x00" * 400, shape=(100,)), **fields()},
    "an attestation as text": {**raw(), **fields(attestation="x")},
    "an attestation too long": {**raw(), **fields(attestation=b"x" * 1_000_001)},
    "a site id as bytes": {**raw(), **fields(site_id=b"a")},
    "no site id": {**raw(), **fields(site_id="")},
    "AUs as text": {**raw(), **fields(labelled_aus=["1"])},
    "AUs as decimals": {**raw(), **fields(labelled_aus=[1.0])},
    "AUs without end": {**raw(), **fields(labelled_aus=[1] * 101)},
    "an AU counted twice": {**raw(), **fields(counted_aus=[1, 1], counts=[1, 2])},
    "a count without its AU": {**raw(), **fields(counts=[1])},
    "a refusal with weights": {**raw(), "refusal": ConfigRecord({"code": 299})},
    "a refusal with words": {"refusal": ConfigRecord({"code": 299, "why": "anna"})},
    "a refusal with an unknown code": {"refusal": ConfigRecord({"code": 1})},
    "a refusal with a text": {"refusal": ConfigRecord({"code": "299"})},
    "a refusal of another kind": {"refusal": ArrayRecord()},
}  # fmt: skip


@pytest.mark.parametrize("records", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_answers_are_refused(records) -> None:
    with pytest.raises(RecordError):
        decode_reply(RecordDict(records), max_bytes=100)


def test_the_usual_answer_is_not_refused() -> None:
    """The table above changes one thing each; this is what it changes."""
    assert decode_reply(RecordDict({**raw(), **fields()}), max_bytes=100).site_id == "a"


@pytest.mark.parametrize(
    "records",
    [{}, {"site": ArrayRecord()}, {"site": ConfigRecord({"site-id": 7})}, {**raw(), **fields()}],
)
def test_hostile_site_ids_are_refused(records) -> None:
    with pytest.raises(RecordError):
        decode_site_id(RecordDict(records))


@pytest.mark.parametrize("plan", ["{", "{}", PLAN.model_dump_json()[:-1] + ',"more":1}'])
def test_damaged_plans_are_refused(plan) -> None:
    with pytest.raises(RecordError):
        decode_request(RecordDict({**raw(), "plan": ConfigRecord({"json": plan})}))
