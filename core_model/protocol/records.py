"""Plans, requests and updates to and from Flower records.

A site's refusal is an ordinary reply with a code: Flower's own error replies carry the text of the
exception, which may tell about data.

What comes in was written by a stranger. All sizes are bounded and checked before memory is taken,
what was not asked for is refused, and every fault is a ``RecordError``.
"""

from __future__ import annotations

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Witnessing,
)
from core_model.protocol.record_fields import (
    RecordError,
    expect,
    fields_of,
    ints_of,
    line_of,
    text_of,
)
from core_model.protocol.weight_records import (
    MAX_WEIGHT_BYTES,
    NAMES,
    decode_weights,
    encode_weights,
)
from core_model.schema import Arrays

MAX_PLAN = 100_000
MAX_ATTESTATION_BYTES = 1_000_000
MAX_NOTE = 20_000  # characters of a signed tree head
MAX_LEAVES = 1_000_000  # rounds in the server's log
WITNESSING = "witnessing"
FIELDS = {"site-id", "attestation", "labelled-aus", "cosignature"}


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


def encode_request_weights(request: RoundRequest) -> RecordDict:
    """Pack the weights of a request in the type of its wire."""
    wire = request.plan.wire
    return encode_weights({n: a.astype(wire, copy=False) for n, a in request.arrays.items()})


def encode_request(request: RoundRequest, weights: RecordDict | None = None) -> RecordDict:
    """Pack a request.

    Args:
        request: What to ask a site.
        weights: The weights of ``request``, if they are packed already for another site.
    """
    plan = ConfigRecord({"json": request.plan.model_dump_json()})
    packed = encode_request_weights(request) if weights is None else weights
    content = RecordDict({**packed, "plan": plan})
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
    expect("request", content, NAMES | {"plan"} | ({WITNESSING} & content.keys()))
    fields = fields_of(content, "plan", {"json"})
    try:
        plan = RoundPlan.model_validate_json(text_of(fields, "json", MAX_PLAN))
    except ValidationError as e:
        raise RecordError("not a round plan of this version") from e
    views = decode_weights(content, max_bytes)
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
            **encode_weights(update.arrays),
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
    expect("update", content, NAMES | {"update"})
    fields = fields_of(content, "update", FIELDS)
    attestation = fields["attestation"]
    if not isinstance(attestation, bytes) or len(attestation) > MAX_ATTESTATION_BYTES:
        raise RecordError(f"expected an attestation of at most {MAX_ATTESTATION_BYTES} bytes")
    return SiteUpdate(
        site_id=text_of(fields, "site-id"),
        arrays=decode_weights(content, max_bytes),
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
