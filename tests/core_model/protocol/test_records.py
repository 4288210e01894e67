import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from core_model.config import FinetuneConfig, PretrainConfig, encoder_config
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Weighting,
    Witnessing,
    digest,
)
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import (
    decode_reply,
    decode_request,
    decode_site_id,
    encode_refusal,
    encode_request,
    encode_site_id,
    encode_update,
    read_records,
    write_records,
)

ARRAYS = {
    "encoder.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "au_head.bias": np.array([np.pi, -0.0], np.float32),
}


def over_the_wire(content):
    return read_records(write_records(content))


@pytest.mark.parametrize("training", [PretrainConfig(), FinetuneConfig()])
def test_request_round_trip(training) -> None:
    plan = RoundPlan(
        run_id="r", round=3, round_of_purpose=1, num_rounds=2, nonce="ab" * 16, seed=1,
        model_in=digest(ARRAYS), encoder=encoder_config("micro"), action_units=(1, 2),
        training=training, weighting=Weighting.FRAMES, tree_size=9,
    )  # fmt: skip
    witnessing = Witnessing("a signed head\n", (b"h" * 32, b"k" * 32), "a line\n")
    request = RoundRequest(plan, ARRAYS, witnessing)
    got = decode_request(over_the_wire(encode_request(request)))
    assert (got.plan, got.witnessing) == (plan, witnessing)
    alone = decode_request(over_the_wire(encode_request(RoundRequest(plan, ARRAYS))))
    assert alone.witnessing is None
    assert digest(got.arrays) == digest(ARRAYS) == plan.model_in
    assert plan.span == (0.0, 0.5)


def test_update_round_trip() -> None:
    update = SiteUpdate("site-a", ARRAYS, b"\0\xffenvelope", (1, 12), "a line\n")
    got = decode_reply(over_the_wire(encode_update(update)))
    assert isinstance(got, SiteUpdate)
    assert digest(got.arrays) == digest(ARRAYS)
    assert (got.site_id, got.attestation, got.labelled_aus, got.cosignature) == (
        "site-a", b"\0\xffenvelope", (1, 12), "a line\n",
    )  # fmt: skip
    bare = SiteUpdate("site-a", ARRAYS, b"x")
    assert decode_reply(over_the_wire(encode_update(bare))).labelled_aus == ()


@pytest.mark.parametrize("code", RefusalCode)
def test_refusal_is_a_number_and_nothing_else(code) -> None:
    content = over_the_wire(encode_refusal(code))
    assert decode_reply(content) is code
    assert {k: dict(v) for k, v in content.items()} == {"refusal": {"code": int(code)}}


def test_site_id_round_trip() -> None:
    assert decode_site_id(over_the_wire(encode_site_id("site-a"))) == "site-a"


def good():
    return encode_update(SiteUpdate("site-a", ARRAYS, b"x", (1,)))


def more_records(content):
    content["more"] = ConfigRecord({"a": 1})


def more_arrays(content):
    content["face"] = ArrayRecord({"face": Array(np.zeros((64, 64), np.float32))})


def more_fields(content):
    content["update"]["subject"] = "anna"


def no_attestation(content):
    del content["update"]["attestation"]


def huge_attestation(content):
    content["update"]["attestation"] = b"x" * 2_000_000


def text_for_numbers(content):
    content["update"]["labelled-aus"] = ["1"]


def counts_beside_the_attestation(content):
    content["update"]["counts"] = [1, 2, 3]


def unknown_refusal(content):
    content.clear()
    content["refusal"] = ConfigRecord({"code": 12345})


HOSTILE = [more_records, more_arrays, more_fields, no_attestation, huge_attestation,
           text_for_numbers, counts_beside_the_attestation, unknown_refusal]  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE)
def test_anything_more_or_less_is_refused(spoil) -> None:
    content = good()
    decode_reply(content)
    spoil(content)
    with pytest.raises(RecordError):
        decode_reply(content)


def test_other_requests_are_refused() -> None:
    for content in (RecordDict(), good(), RecordDict({"plan": ConfigRecord({"json": "{}"})})):
        with pytest.raises(RecordError):
            decode_request(content)


@given(st.integers(0, 5), st.integers(0, 2), st.floats(-1e3, 1e3, width=32))
def test_digest_sees_every_value_name_and_shape(at, which, value) -> None:
    changed = {n: a.copy() for n, a in ARRAYS.items()}
    changed["encoder.w"].reshape(-1)[at] = value
    same = np.float32(value).tobytes() == ARRAYS["encoder.w"].reshape(-1)[at].tobytes()
    assert (digest(changed) == digest(ARRAYS)) == same
    renamed = {f"{n}x" if i == which else n: a for i, (n, a) in enumerate(ARRAYS.items())}
    assert (digest(renamed) == digest(ARRAYS)) == (which == 2)
    assert digest({**ARRAYS, "encoder.w": ARRAYS["encoder.w"].T.copy()}) != digest(ARRAYS)
