"""Adversarial case 16: what a careless reader of signed JSON would let through."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.envelope import (
    MAX_WHOLE,
    canonical_json,
    open_envelope,
    parse_json,
    pre_authentication_encoding,
    sign_envelope,
)
from consent.errors import BadSignatureError, MalformedError
from consent.keys import SigningKey
from tests.consent.heads import SITE, Heads, attestation, base64url

KIND = "application/test"
GOOD = json.loads(sign_envelope(KIND, b'{"a":">>>???"}', SITE))
SIGNATURE = GOOD["signatures"][0]


def test_pre_authentication_encoding_of_the_specification() -> None:
    got = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert got == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def opened(envelope) -> bytes:
    return open_envelope(json.dumps(envelope).encode(), KIND, SITE.verifier)


def signed_by(name, seed):
    payload = base64.b64decode(GOOD["payload"])
    return json.loads(sign_envelope(KIND, payload, SigningKey.from_seed(name, seed)))["signatures"]


FINE = {
    "without a key id": {**GOOD, "signatures": [{"sig": SIGNATURE["sig"]}]},
    "with another key's id": {**GOOD, "signatures": [{**SIGNATURE, "keyid": "ffffffff"}]},
    "in the url-safe alphabet": {
        **GOOD,
        "payload": base64url(GOOD["payload"]),
        "signatures": [{"sig": base64url(SIGNATURE["sig"])}],
    },
    "with another's signature before": {
        **GOOD, "signatures": [*signed_by("b", b"b" * 32), SIGNATURE],
    },
    "with fields that nobody knows": {**GOOD, "note": "x"},
}  # fmt: skip


@pytest.mark.parametrize("envelope", FINE.values(), ids=FINE.keys())
def test_what_the_specification_allows_is_opened(envelope) -> None:
    assert opened(envelope) == b'{"a":">>>???"}'


BENT = {
    "of another type": {**GOOD, "payloadType": "text/plain"},
    "without signatures": {**GOOD, "signatures": []},
    "with another payload": {**GOOD, "payload": base64.b64encode(b"{}").decode()},
    "signed twice with one signature": {**GOOD, "signatures": [SIGNATURE, SIGNATURE]},
    "the same signature in both alphabets": {
        **GOOD, "signatures": [SIGNATURE, {"sig": base64url(SIGNATURE["sig"])}],
    },
    "signed by 17": {
        **GOOD, "signatures": [SIGNATURE, *(signed_by("b", bytes([i]) * 32)[0] for i in range(16))],
    },
    "signed by somebody else": {**GOOD, "signatures": signed_by(SITE.name, b"o" * 32)},
    "not an object": [],
    "a signature that is no text": {**GOOD, "signatures": [{"sig": 5}]},
    "a payload with white space": {**GOOD, "payload": GOOD["payload"] + "\n"},
}  # fmt: skip


@pytest.mark.parametrize("envelope", BENT.values(), ids=BENT.keys())
def test_weak_envelope_is_refused(envelope) -> None:
    with pytest.raises((MalformedError, BadSignatureError)):
        opened(envelope)


def test_two_different_signatures_by_one_key_never_count_for_two() -> None:
    """Ed25519 is deterministic, but a signer need not be: here the check itself is bent."""

    class Yes:
        name = "anyone"

        def check(self, message, signature) -> None:
            pass

    two = {**GOOD, "signatures": [{"sig": "AAAA"}, {"sig": "BBBB"}]}
    with pytest.raises(MalformedError, match="signed 2 times"):
        open_envelope(json.dumps(two).encode(), KIND, Yes())


BAD_JSON = {
    "a key twice": b'{"a":1,"a":2}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a decimal": b'{"a":1.5}',
    "a whole number as a decimal": b'{"round":5.0}',
    "an exponent": b'{"a":1e3}',
    "not a number": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "2^53, which doubles cannot tell from 2^53 + 1": b'{"a":9007199254740992}',
    "2^53 + 1": b'{"a":9007199254740993}',
    "a number of five thousand digits": b'{"a":' + b"9" * 5000 + b"}",
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "not JSON": b"{",
    "two values": b"{} {}",
    "not UTF-8": b"\xff",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": '\ufeff{"a":1}'.encode(),
    "very deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_json_that_two_readers_understand_differently_is_refused(data) -> None:
    with pytest.raises(MalformedError):
        parse_json(data)


@pytest.mark.parametrize("value", [{"epsilon": [0.1]}, {"a": MAX_WHOLE + 1}, [-(2**60)]])
def test_inexact_numbers_are_never_signed(value) -> None:
    with pytest.raises(MalformedError):
        canonical_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_WHOLE, MAX_WHOLE)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(JSON)
def test_canonical_json_comes_back_and_has_one_form(value) -> None:
    data = canonical_json(value)
    assert parse_json(data) == value
    assert canonical_json(parse_json(data)) == data


LOOSE = {
    "with spaces": lambda text: text.replace(b":", b": ", 1),
    "with another order": lambda text: json.dumps(
        dict(reversed(json.loads(text).items())), separators=(",", ":"), ensure_ascii=False
    ).encode(),
    "with an escaped letter": lambda text: text.replace(b'"run"', b'"r\\u0075n"'),
    "with a number as text": lambda text: text.replace(b'"round":3', b'"round":"3"'),
    "with a time in another zone": lambda text: text.replace(b"00:00:00Z", b"00:00:00+00:00"),
    "with minus zero": lambda text: text.replace(b'"labelled_aus":[1', b'"labelled_aus":[-0,1'),
    "with a field more": lambda text: text.replace(b'"code"', b'"a":1,"code"'),
}  # fmt: skip


@pytest.mark.parametrize("bend", LOOSE.values(), ids=LOOSE.keys())
def test_attestation_has_one_byte_form(bend) -> None:
    """A statement that is signed, true and valid, but written differently."""
    from consent.attestation import PAYLOAD_TYPE, open_attestation, sign_attestation

    envelope = json.loads(sign_attestation(attestation(Heads(b"a")), SITE))
    payload = base64.b64decode(envelope["payload"])
    bent = bend(payload)
    assert bent != payload
    json.loads(bent)
    with pytest.raises(MalformedError):
        open_attestation(sign_envelope(PAYLOAD_TYPE, bent, SITE), SITE.verifier)
