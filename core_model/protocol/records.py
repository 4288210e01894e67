"""Plans, requests and updates to and from Flower records. The only module that knows both.

A site's refusal is an ordinary reply with a code: Flower's own error replies carry the text of the
exception, which may tell about data.
"""

from __future__ import annotations

from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from core_model.protocol.messages import RefusalCode, RoundPlan, RoundRequest, SiteUpdate
from core_model.schema import Arrays

MAX_ATTESTATION_BYTES = 1_000_000


class RecordError(ValueError):
    """A message does not hold what it should, or holds more."""


def encode_request(request: RoundRequest) -> RecordDict:
    """Pack a request."""
    plan = ConfigRecord({"json": request.plan.model_dump_json()})
    return RecordDict({"arrays": _pack(request.arrays), "plan": plan})


def decode_request(content: RecordDict) -> RoundRequest:
    """Unpack a request.

    Raises:
        RecordError: It is not a request, or the plan is not valid.
    """
    _expect(content, {"arrays", "plan"})
    try:
        plan = RoundPlan.model_validate_json(str(content.config_records["plan"]["json"]))
        return RoundRequest(plan, _unpack(content.array_records["arrays"]))
    except (KeyError, ValueError, TypeError) as e:
        raise RecordError("not a round request") from e


def encode_update(update: SiteUpdate) -> RecordDict:
    """Pack a site's answer."""
    return RecordDict(
        {
            "arrays": _pack(update.arrays),
            "update": ConfigRecord(
                {
                    "site-id": update.site_id,
                    "attestation": update.attestation,
                    "labelled-aus": list(update.labelled_aus),
                    "counted-aus": list(update.labelled_frames.keys()),
                    "counts": list(update.labelled_frames.values()),
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
    """Unpack it.

    Raises:
        RecordError: It is not such an answer.
    """
    _expect(content, {"site"})
    return _text(content.config_records["site"], "site-id")


def decode_reply(content: RecordDict) -> SiteUpdate | RefusalCode:
    """Unpack a site's answer or refusal.

    Raises:
        RecordError: It is neither, or holds more than it should.
    """
    if set(content) == {"refusal"}:
        try:
            return RefusalCode(int(content.config_records["refusal"]["code"]))  # type: ignore[arg-type]
        except (KeyError, ValueError, TypeError) as e:
            raise RecordError("not a refusal") from e
    _expect(content, {"arrays", "update"})
    try:
        fields = content.config_records["update"]
        arrays = _unpack(content.array_records["arrays"])
        attestation = fields["attestation"]
        counts = dict(zip(_ints(fields, "counted-aus"), _ints(fields, "counts"), strict=True))
    except (KeyError, ValueError, TypeError) as e:
        raise RecordError("not an update") from e
    wanted = {"site-id", "attestation", "labelled-aus", "counted-aus", "counts"}
    if set(fields) != wanted or not isinstance(attestation, bytes):
        raise RecordError("an update must hold exactly its fields")
    if len(attestation) > MAX_ATTESTATION_BYTES:
        raise RecordError("attestation is too large")
    labelled = tuple(_ints(fields, "labelled-aus"))
    return SiteUpdate(_text(fields, "site-id"), arrays, attestation, labelled, counts)


def _pack(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def _unpack(record: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in record.items()}


def _expect(content: RecordDict, names: set[str]) -> None:
    if set(content) != names:
        raise RecordError(f"expected records {sorted(names)}, got {sorted(content)[:5]}")


def _text(record: ConfigRecord, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise RecordError(f"expected a short text in {key}")
    return value


def _ints(record: ConfigRecord, key: str) -> list[int]:
    values: Any = record[key]
    if not isinstance(values, list) or not all(type(v) is int for v in values):
        raise RecordError(f"expected whole numbers in {key}")
    return values
