"""Weights to and from Flower records: all of them as one array, and an index of what lies where.

One array and not one for each weight: Flower stores and fetches every array as an object of its
own, and some hundred objects cost the SuperLink more time than all the bytes in them
(``benchmarks/bench_link.py``). The array holds plain little-endian bytes, whose number must fit the
index. Flower's own way, ``.npy``, has a header that can claim a terabyte, and numpy takes the
memory before it looks.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from core_model.protocol.record_fields import MAX_TEXT, RecordError, expect, fields_of, text_of
from core_model.protocol.wire import Travelling

RAW: dict[str, np.dtype[Any]] = {
    "omote.float32.le": np.dtype("<f4"),
    "omote.float16.le": np.dtype("<f2"),
}
MAX_WEIGHT_BYTES = 4 << 30
MAX_ARRAYS = 10_000
MAX_DIMENSIONS = 8
MAX_INDEX = 4_000_000  # characters
ARRAYS, INDEX, ALL = "arrays", "index", "weights"
NAMES = frozenset({ARRAYS, INDEX})
"""The records that weights take in a message."""

_Name = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
_Size = Annotated[int, Field(ge=0, le=1 << 40)]
_Shape = Annotated[tuple[_Size, ...], Field(max_length=MAX_DIMENSIONS)]
_Index = TypeAdapter(
    Annotated[tuple[tuple[_Name, _Shape], ...], Field(min_length=1, max_length=MAX_ARRAYS)]
)


def encode_weights(arrays: Travelling) -> RecordDict:
    """Pack weights. The records may stand in many messages at once.

    Raises:
        RecordError: They are not all of one type that can travel.
    """
    kinds = {array.dtype for array in arrays.values()}
    stype = next((s for s, kind in RAW.items() if kinds == {kind}), None)
    if stype is None:
        raise RecordError(
            f"expected weights in float32 or in float16, got {sorted(map(str, kinds))}"
        )
    index = tuple((name, array.shape) for name, array in arrays.items())
    raw = b"".join(a.astype(RAW[stype], copy=False).tobytes() for a in arrays.values())
    total = len(raw) // RAW[stype].itemsize
    return RecordDict(
        {
            ARRAYS: ArrayRecord({ALL: Array(RAW[stype].name, (total,), stype, raw)}),
            INDEX: ConfigRecord({"json": _Index.dump_json(index).decode()}),
        }
    )


def decode_weights(content: RecordDict, max_bytes: int = MAX_WEIGHT_BYTES) -> Travelling:
    """Unpack weights, as read-only views of the message.

    Raises:
        RecordError: They are no weights, too many, or the bytes do not fill the index.
    """
    index, array = index_of(content), _whole(content)
    kind = RAW.get(array.stype)
    if kind is None or array.dtype != kind.name:
        raise RecordError(f"weights: expected one of {sorted(RAW)}")
    if len(array.data) > max_bytes:
        raise RecordError(f"expected at most {max_bytes} bytes of weights, got {len(array.data)}")
    sizes = [math.prod(shape) for shape in index.values()]
    if array.shape != (sum(sizes),) or sum(sizes) * kind.itemsize != len(array.data):
        raise RecordError(f"weights: {len(array.data)} bytes do not fill the index")
    whole: NDArray[Any] = np.frombuffer(array.data, kind, count=sum(sizes))
    arrays, start = {}, 0
    for (name, shape), size in zip(index.items(), sizes, strict=True):
        arrays[name] = whole[start : start + size].reshape(shape)
        start += size
    return arrays


def index_of(content: RecordDict) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights in a message.

    Raises:
        RecordError: The index is none, or names a weight twice.
    """
    text = text_of(fields_of(content, INDEX, {"json"}), "json", MAX_INDEX)
    try:
        index = _Index.validate_json(text, strict=True)
    except ValidationError as e:
        raise RecordError("index: not one of names and shapes") from e
    if len(named := dict(index)) != len(index):
        raise RecordError("index: names a weight twice")
    return named


def _whole(content: RecordDict) -> Array:
    record = content[ARRAYS]
    if not isinstance(record, ArrayRecord):
        raise RecordError(f"{ARRAYS}: expected an array record")
    expect(ARRAYS, record, {ALL})
    return record[ALL]
