"""Plans, requests and updates to and from Flower records. The only module that knows both.

A site's refusal is an ordinary reply with a code: Flower's own error replies carry the text of the
exception, which may tell about data.

What comes in was written by a stranger. All sizes are bounded and checked before memory is taken,
what was not asked for is refused, and every fault is a ``RecordError``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from pydantic import ValidationError

from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Witnessing,
)
from core_model.protocol.wire import Travelling, Wire
from core_model.schema import Arrays

RAW: dict[str, np.dtype[Any]] = {
    "omote.float32.le": np.dtype("<f4"),
    "omote.float16.le": np.dtype("<f2"),
}
"""How weights travel: plain little-endian bytes, whose number must fit the shape. Flower's own way,
``.npy``, has a header that can claim a terabyte, and numpy takes the memory before it looks."""

MAX_WEIGHT_BYTES = 4 << 30
MAX_ARRAYS = 10_000
MAX_DIMENSIONS = 8
MAX_TEXT = 200
MAX_PLAN = 100_000
MAX_AUS = 100
MAX_ATTESTATION_BYTES = 1_000_000
MAX_NOTE = 20_000  # characters of a signed tree head
MAX_LINE = 500  # of one signature on it
MAX_LEAVES = 1_000_000  # rounds in the server's log
WITNESSING = "witnessing"
FIELDS = {"site-id", "attestation", "labelled-aus", "cosignature"}


class RecordError(ValueError):
    """A message does not hold what it should, or holds more."""


def write_records(content: RecordDict) -> bytes:
    """Return records in Flower's wire format."""
    return recorddict_to_proto(content).SerializeToString()


def read_records(raw: bytes) -> RecordDict:
    """Read records from Flower's wire format.

    Raises:
        RecordError: These bytes are no records.
    """
    try:
        return recorddict_from_proto(ProtoRecordDict.FromString(raw))
    except (DecodeError, KeyError, TypeError, ValueError) as e:
        raise RecordError("expected records in Flower's wire format") from e


def encode_weights(arrays: Arrays, wire: Wire = "float32") -> ArrayRecord:
    """Pack the weights of a request. The record may stand in many messages at once."""
    return _pack_all({name: array.astype(wire, copy=False) for name, array in arrays.items()})


def encode_request(request: RoundRequest, weights: ArrayRecord | None = None) -> RecordDict:
    """Pack a request.

    Args:
        request: What to ask a site.
        weights: The weights of ``request``, if they are packed already for another site.
    """
    plan = ConfigRecord({"json": request.plan.model_dump_json()})
    arrays = encode_weights(request.arrays, request.plan.wire) if weights is None else weights
    content = RecordDict({"arrays": arrays, "plan": plan})
    if (told := request.witnessing) is not None:
        content[WITNESSING] = ConfigRecord(
            {
                "tree-head": told.tree_head,
                "leaves": b"".join(told.leaves),
                "cosignature": told.cosignature,
            }
        )
    return content


def decode_request(content: RecordDict, max_bytes: int = MAX_WEIGHT_BYTES) -> RoundRequest:
    """Unpack a request. Its arrays are copies, free to be changed.

    Raises:
        RecordError: It is not a request, or the plan is not valid.
    """
    expect("request", content, {"arrays", "plan"} | ({WITNESSING} & content.keys()))
    fields = fields_of(content, "plan", {"json"})
    try:
        plan = RoundPlan.model_validate_json(text_of(fields, "json", MAX_PLAN))
    except ValidationError as e:
        raise RecordError("not a round plan of this version") from e
    views = _unpack(content, max_bytes)
    if any(view.dtype != plan.wire for view in views.values()):
        raise RecordError(f"expected weights in {plan.wire}, as the plan says")
    arrays: Arrays = {name: view.astype(np.float32) for name, view in views.items()}
    return RoundRequest(plan, arrays, _witnessing(content))


def _witnessing(content: RecordDict) -> Witnessing | None:
    if WITNESSING not in content:
        return None
    fields = fields_of(content, WITNESSING, {"tree-head", "leaves", "cosignature"})
    raw = fields["leaves"]
    if not isinstance(raw, bytes) or len(raw) % 32 or len(raw) > 32 * MAX_LEAVES:
        raise RecordError(f"leaves: expected at most {MAX_LEAVES} hashes of 32 bytes")
    return Witnessing(
        tree_head=text_of(fields, "tree-head", MAX_NOTE),
        leaves=tuple(raw[at : at + 32] for at in range(0, len(raw), 32)),
        cosignature=line_of(fields),
    )


def encode_update(update: SiteUpdate) -> RecordDict:
    """Pack a site's answer."""
    return RecordDict(
        {
            "arrays": _pack_all(update.arrays),
            "update": ConfigRecord(
                {
                    "site-id": update.site_id,
                    "attestation": update.attestation,
                    "labelled-aus": list(update.labelled_aus),
                    "cosignature": update.cosignature,
                }
            ),
        }
    )


def encode_refusal(code: RefusalCode) -> RecordDict:
    """Pack a site's refusal: a number and nothing else."""
    return RecordDict({"refusal": ConfigRecord({"code": int(code)})})


def encode_site_id(site_id: str) -> RecordDict:
    """Pack the answer to 'which site are you?'."""
    return RecordDict({"site": ConfigRecord({"site-id": site_id})})


def decode_site_id(content: RecordDict) -> str:
    """Unpack it. A claim, not a proof.

    Raises:
        RecordError: It is not such an answer.
    """
    expect("answer", content, {"site"})
    return text_of(fields_of(content, "site", {"site-id"}), "site-id")


def decode_reply(
    content: RecordDict, max_bytes: int = MAX_WEIGHT_BYTES
) -> SiteUpdate | RefusalCode:
    """Unpack a site's answer or refusal. Its arrays are read-only views of the message.

    Raises:
        RecordError: It is neither, or holds more than it should.
    """
    if "refusal" in content:
        return decode_refusal(content)
    expect("update", content, {"arrays", "update"})
    fields = fields_of(content, "update", FIELDS)
    attestation = fields["attestation"]
    if not isinstance(attestation, bytes) or len(attestation) > MAX_ATTESTATION_BYTES:
        raise RecordError(f"expected an attestation of at most {MAX_ATTESTATION_BYTES} bytes")
    return SiteUpdate(
        site_id=text_of(fields, "site-id"),
        arrays=_unpack(content, max_bytes),
        attestation=attestation,
        labelled_aus=ints_of(fields, "labelled-aus"),
        cosignature=line_of(fields),
    )


def decode_refusal(content: RecordDict) -> RefusalCode:
    """Unpack a refusal.

    Raises:
        RecordError: It is none, or its code is not known.
    """
    expect("refusal", content, {"refusal"})
    code = fields_of(content, "refusal", {"code"})["code"]
    try:
        return RefusalCode(code) if type(code) is int else RefusalCode(-1)
    except ValueError as e:
        raise RecordError(f"unknown refusal code {str(code)[:20]}") from e


def _pack_all(arrays: Travelling) -> ArrayRecord:
    return ArrayRecord({name: _pack(name, array) for name, array in arrays.items()})


def _pack(name: str, array: NDArray[Any]) -> Array:
    for stype, kind in RAW.items():
        if array.dtype == kind:
            raw = array.astype(kind, copy=False).tobytes()
            return Array(str(array.dtype), array.shape, stype, raw)
    raise RecordError(f"{name}: expected float32 or float16, got {array.dtype}")


def _unpack(content: RecordDict, max_bytes: int) -> Travelling:
    record = content["arrays"]
    if not isinstance(record, ArrayRecord) or len(record) > MAX_ARRAYS:
        raise RecordError(f"expected at most {MAX_ARRAYS} arrays")
    if (total := sum(len(array.data) for array in record.values())) > max_bytes:
        raise RecordError(f"expected at most {max_bytes} bytes of weights, got {total}")
    return {name: _view(name, array) for name, array in record.items()}


def _view(name: str, array: Array) -> NDArray[Any]:
    if len(name) > MAX_TEXT or len(array.shape) > MAX_DIMENSIONS:
        raise RecordError(f"{name[:MAX_TEXT]}: name or shape is too long")
    kind = RAW.get(array.stype)
    if kind is None or array.dtype != kind.name:
        raise RecordError(f"{name}: expected one of {sorted(RAW)}")
    is_negative = any(n < 0 for n in array.shape)
    if is_negative or kind.itemsize * math.prod(array.shape) != len(array.data):
        raise RecordError(f"{name}: {len(array.data)} bytes do not fill the shape {array.shape}")
    return np.frombuffer(array.data, kind).reshape(array.shape)


def fields_of(content: RecordDict, name: str, keys: set[str]) -> Mapping[str, Any]:
    """Return the fields of a record, which must be exactly these."""
    record = content[name]
    if not isinstance(record, ConfigRecord):
        raise RecordError(f"{name}: expected a config record")
    expect(name, record, keys)
    return dict(record)


def expect(what: str, got: Mapping[str, object], want: set[str]) -> None:
    """Check that something holds exactly these keys."""
    if got.keys() != want:
        names = [name[:MAX_TEXT] for name in sorted(got)[:5]]
        raise RecordError(f"{what}: expected exactly {sorted(want)}, got {names}")


def text_of(fields: Mapping[str, Any], key: str, most: int = MAX_TEXT) -> str:
    """Return a field that must be a text."""
    value = fields[key]
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise RecordError(f"{key}: expected a text of 1 to {most} characters")
    return value


def line_of(fields: Mapping[str, Any]) -> str:
    """Return the signature line of a witness; empty if it gives none."""
    return "" if fields["cosignature"] == "" else text_of(fields, "cosignature", MAX_LINE)


def ints_of(fields: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Return a field that must be a list of whole numbers."""
    values = fields[key]
    if not isinstance(values, list) or len(values) > MAX_AUS:
        raise RecordError(f"{key}: expected at most {MAX_AUS} numbers")
    if not all(type(value) is int for value in values):
        raise RecordError(f"{key}: expected whole numbers")
    return tuple(values)
