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


def canonical_json(value: Any) -> bytes:
    """Return the one byte form: sorted keys, no spaces, UTF-8.

    Raises:
        MalformedError: There is a float in it.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_json(data: bytes) -> Any:
    """Read JSON, strictly.

    Raises:
        MalformedError: Not JSON, a key twice in one object, or a number that is not whole.
    """
    try:
        return json.loads(
            data,
            object_pairs_hook=_once,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as e:
        raise MalformedError("not JSON") from e


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
        MalformedError: Not an envelope, or of another payload type.
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
    message = pre_authentication_encoding(payload_type, payload)
    for signature in signatures[:16]:
        try:
            key.check(message, signature)
        except BadSignatureError:
            continue
        return payload
    raise BadSignatureError(f"envelope is not signed by {key.name}")


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


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise MalformedError("decimals must be text in signed JSON")
    for part in value.values() if isinstance(value, dict) else ():
        _refuse_floats(part)
    for part in value if isinstance(value, list | tuple) else ():
        _refuse_floats(part)
