"""Signed JSON in a DSSE envelope (Dead Simple Signing Envelope, v1.0.2).

The bytes that were verified are the bytes that are parsed. Numbers are whole; decimals are text.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

from consent.errors import BadSignatureError, MalformedError
from consent.keys import SigningKey, VerifierKey

MAX_ENVELOPE_BYTES = 1_000_000
MAX_SIGNATURES = 16
MAX_WHOLE = 2**53 - 1  # larger numbers are rounded by readers that hold them as doubles


def canonical_json(value: Any) -> bytes:
    """Return the one byte form: sorted keys, no spaces, UTF-8.

    Raises:
        MalformedError: There is a float in it, or a number that some readers would round.
    """
    _refuse_inexact((value,))
    return _ENCODER.encode(value).encode()


def parse_json(data: bytes) -> Any:
    """Read JSON so that no other reader can understand it differently.

    Raises:
        MalformedError: Not JSON in UTF-8, a key twice in one object, or a number that is not whole
            or beyond 2^53 - 1.
    """
    try:
        # bytes would be taken for UTF-16 when they look like it
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:
            canonical_json(value)  # an escape can be half a character, which has no bytes
    except (ValueError, RecursionError) as e:
        raise MalformedError("not JSON") from e
    return value


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (DSSE protocol, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, key: SigningKey) -> bytes:
    """Return an envelope around ``payload``."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": key.verifier.key_id.hex(), "sig": base64.b64encode(signature).decode()}
            ],
        }
    )


def open_envelope(envelope: bytes, payload_type: str, key: VerifierKey) -> bytes:
    """Return the payload after type and signature were checked. The key id is only a hint.

    Raises:
        MalformedError: Not an envelope, of another payload type, or with a signature twice.
        BadSignatureError: No signature is by ``key``.
    """
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise MalformedError("envelope is too large")
    try:
        parsed = parse_json(envelope)
        kind, payload = parsed["payloadType"], _decode(parsed["payload"])
        signatures = [_decode(s["sig"]) for s in parsed["signatures"]]
    except (TypeError, KeyError) as e:
        raise MalformedError("not a DSSE envelope") from e
    if kind != payload_type:
        raise MalformedError(f"expected payload type {payload_type}")
    if len(signatures) > MAX_SIGNATURES or len(set(signatures)) != len(signatures):
        raise MalformedError(f"expected at most {MAX_SIGNATURES} signatures, each once")
    message = pre_authentication_encoding(payload_type, payload)
    by_key = sum(_is_by(key, message, signature) for signature in signatures)
    if by_key > 1:  # or one signer could be counted for two
        raise MalformedError(f"signed {by_key} times by {key.name}")
    if not by_key:
        raise BadSignatureError(f"envelope is not signed by {key.name}")
    return payload


def _is_by(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    try:
        key.check(message, signature)
    except BadSignatureError:
        return False
    return True


def _decode(text: str) -> bytes:
    """Decode base64 in either alphabet, as DSSE allows."""
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError, AttributeError) as e:
        raise MalformedError("not base64") from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedError("a key stands twice in one JSON object")
    return result


def _refuse_number(text: str) -> NoReturn:
    raise MalformedError(f"expected whole numbers, got {text[:20]}")


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > MAX_WHOLE:
        raise MalformedError(f"expected a number up to 2^53 - 1, got {text[:20]}")
    return number


def _refuse_inexact(value: Any) -> None:
    for part in value.values() if isinstance(value, dict) else value:
        kind = type(part)
        if kind is str or part is None:  # most are: this runs for every entry that is written
            continue
        if kind is dict or kind is list or kind is tuple:
            _refuse_inexact(part)
        elif isinstance(part, float):
            raise MalformedError("decimals must be text in signed JSON")
        elif isinstance(part, int) and abs(part) > MAX_WHOLE:
            raise MalformedError("numbers beyond 2^53 - 1 must be text in signed JSON")


# Made once: json.dumps and json.loads would make new ones at every call.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_once,
    parse_int=_whole,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
)
