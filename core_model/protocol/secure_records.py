"""The messages of a secure sum to and from Flower records.

All travel as Flower's ``train`` messages, as plain requests do: what a message is, its records say.
So whatever carries messages at a site carries these too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import RootModel, ValidationError

from core_model.config import Settings
from core_model.protocol.messages import RefusalCode, RoundRequest
from core_model.protocol.record_fields import (
    RecordError,
    expect,
    fields_of,
    ints_of,
    line_of,
    text_of,
)
from core_model.protocol.records import (
    MAX_ATTESTATION_BYTES,
    WITNESSING,
    decode_refusal,
    decode_request,
    encode_request,
)
from core_model.protocol.secure import (
    KeysRequest,
    MaskedRequest,
    MaskedUpdate,
    RosterRequest,
    SealedShares,
    SecureReply,
    SecureRequest,
    Unmasking,
    UnmaskRequest,
)
from core_model.protocol.weight_records import MAX_WEIGHT_BYTES, NAMES
from core_model.secure_sum.roster import SignedKeys

RAW_UINT32 = "omote.uint32.le"
MAX_JSON = 1_000_000
SHARES = "secure-shares"
_REQUESTS: dict[str, type[Settings]] = {
    "secure-keys": KeysRequest,
    "secure-roster": RosterRequest,
    "secure-unmask": UnmaskRequest,
}
_REPLIES: dict[str, type[Settings]] = {
    "secure-signed-keys": SignedKeys,
    "secure-sealed-shares": SealedShares,
    "secure-unmasking": Unmasking,
}
_MASKED = {"site-id", "attestation", "labelled-aus", "cosignature"}
_Shares = RootModel[dict[str, str]]
Kind = TypeVar("Kind")


def encode_secure_request(message: SecureRequest, weights: RecordDict | None = None) -> RecordDict:
    """Pack a request.

    Args:
        message: What to ask a site.
        weights: The weights of a ``MaskedRequest``, if they are packed already for another site.
    """
    if isinstance(message, MaskedRequest):
        content = encode_request(message.request, weights)
        content[SHARES] = ConfigRecord({"json": _Shares(message.shares).model_dump_json()})
        return content
    return _encode(_REQUESTS, message)


def decode_any_request(content: RecordDict) -> RoundRequest | SecureRequest:
    """Unpack what a site is asked, plain or of a secure sum.

    Raises:
        RecordError: It is neither, or not valid.
    """
    if SHARES in content:
        names = NAMES | {"plan"} | ({WITNESSING} & content.keys())
        expect("request", content, names | {SHARES})
        shares = _parse(content, SHARES, _Shares).root
        plain = RecordDict({name: content[name] for name in sorted(names)})
        return MaskedRequest(decode_request(plain), shares)
    for name, kind in _REQUESTS.items():
        if name in content:
            expect("request", content, {name})
            message: Any = _parse(content, name, kind)
            return message
    return decode_request(content)


def encode_secure_reply(reply: SecureReply) -> RecordDict:
    """Pack a site's answer."""
    if isinstance(reply, MaskedUpdate):
        raw = reply.vector.astype("<u4", copy=False).tobytes()
        fields = ConfigRecord(
            {
                "site-id": reply.site_id,
                "attestation": reply.attestation,
                "labelled-aus": list(reply.labelled_aus),
                "cosignature": reply.cosignature,
            }
        )
        array = Array("uint32", reply.vector.shape, RAW_UINT32, raw)
        return RecordDict({"masked": ArrayRecord({"vector": array}), "update": fields})
    return _encode(_REPLIES, reply)


def decode_secure_reply(
    content: RecordDict, max_bytes: int = MAX_WEIGHT_BYTES
) -> SecureReply | RefusalCode:
    """Unpack a site's answer or refusal. A vector is a read-only view of the message.

    Raises:
        RecordError: It is neither, or holds more than it should.
    """
    if "refusal" in content:
        return decode_refusal(content)
    if "masked" in content:
        return _masked(content, max_bytes)
    for name, kind in _REPLIES.items():
        if name in content:
            expect("answer", content, {name})
            message: Any = _parse(content, name, kind)
            return message
    raise RecordError("expected an answer of a secure sum")


def _masked(content: RecordDict, max_bytes: int) -> MaskedUpdate:
    expect("update", content, {"masked", "update"})
    fields = fields_of(content, "update", _MASKED)
    attestation = fields["attestation"]
    if not isinstance(attestation, bytes) or len(attestation) > MAX_ATTESTATION_BYTES:
        raise RecordError(f"expected an attestation of at most {MAX_ATTESTATION_BYTES} bytes")
    return MaskedUpdate(
        site_id=text_of(fields, "site-id"),
        vector=_vector(content, max_bytes),
        attestation=attestation,
        labelled_aus=ints_of(fields, "labelled-aus"),
        cosignature=line_of(fields),
    )


def _vector(content: RecordDict, max_bytes: int) -> NDArray[np.uint32]:
    record = content["masked"]
    if not isinstance(record, ArrayRecord):
        raise RecordError("masked: expected an array record")
    expect("masked", record, {"vector"})
    array = record["vector"]
    if (array.stype, array.dtype) != (RAW_UINT32, "uint32") or len(array.data) > max_bytes:
        raise RecordError(f"vector: expected {RAW_UINT32} of at most {max_bytes} bytes")
    if len(array.shape) != 1 or 4 * array.shape[0] != len(array.data):
        raise RecordError(f"vector: {len(array.data)} bytes do not fill the shape")
    return np.frombuffer(array.data, "<u4")


def _encode(kinds: Mapping[str, type[Settings]], message: Settings) -> RecordDict:
    (name,) = (name for name, kind in kinds.items() if isinstance(message, kind))
    return RecordDict({name: ConfigRecord({"json": message.model_dump_json()})})


def _parse(content: RecordDict, name: str, kind: type[Kind]) -> Kind:
    raw = text_of(fields_of(content, name, {"json"}), "json", MAX_JSON)
    try:
        message: Kind = kind.model_validate_json(raw)  # type: ignore[attr-defined]
    except ValidationError as e:
        raise RecordError(f"{name}: not a message of this version") from e
    return message
