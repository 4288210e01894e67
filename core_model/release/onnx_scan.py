"""Look into an ONNX file before any runtime does: its metadata, and whether it names other files.

A reader of protocol buffers for the few fields that matter. It bounds every length and depth, so a
damaged file ends in an error and not in memory that runs full.
"""

from __future__ import annotations

from collections.abc import Iterator

# Field numbers of onnx.proto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE, _FUNCTION_NODE = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
MAX_DEPTH = 8  # graphs within graphs

Field = tuple[int, int | memoryview]


class NotOnnxError(Exception):
    """The bytes are not an ONNX model, or one that reads other files."""


def metadata_of(content: bytes) -> dict[str, str]:
    """Return the metadata of a model.

    Raises:
        NotOnnxError: It is not a model, or a key comes twice.
    """
    found: dict[str, str] = {}
    for number, value in _fields(memoryview(content)):
        if number == _MODEL_METADATA:
            entry = dict(_fields(_nested(value)))
            key, text = _text(entry.get(1)), _text(entry.get(2))
            if key in found:
                raise NotOnnxError(f"metadata {key!r} stands twice")
            found[key] = text
    return found


def check_alone(content: bytes) -> None:
    """Check that the model reads no file but itself.

    Raises:
        NotOnnxError: A weight lies in another file, or it is not a model.
    """
    has_graph = False
    for number, value in _fields(memoryview(content)):
        if number == _MODEL_GRAPH:
            has_graph = True
            _check_graph(_nested(value), 0)
        elif number == _MODEL_FUNCTIONS:
            for inner, node in _fields(_nested(value)):
                if inner == _FUNCTION_NODE:
                    _check_node(_nested(node), 0)
    if not has_graph:
        raise NotOnnxError("not an ONNX model: no graph")


def _check_graph(graph: memoryview, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotOnnxError(f"graphs nested deeper than {MAX_DEPTH}")
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            _check_tensor(_nested(value))
        elif number == _GRAPH_NODE:
            _check_node(_nested(value), depth)


def _check_node(node: memoryview, depth: int) -> None:
    for number, value in _fields(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for inner, part in _fields(_nested(value)):
            if inner in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                _check_tensor(_nested(part))
            elif inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                _check_graph(_nested(part), depth + 1)


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise NotOnnxError("a weight lies in another file; released models are one file")


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Return the model with ``metadata`` in place of what it had; nothing else changes.

    Raises:
        NotOnnxError: It is not a model.
    """
    data = memoryview(content)
    kept = [data[a:b] for number, _, a, b in _spans(data) if number != _MODEL_METADATA]
    entries = (_field(1, k.encode()) + _field(2, v.encode()) for k, v in metadata.items())
    return b"".join([*kept, *(_field(_MODEL_METADATA, entry) for entry in entries)])


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _fields(data: memoryview) -> Iterator[Field]:
    """Yield number and value of each field of a message (protobuf encoding)."""
    for number, value, _, _ in _spans(data):
        yield number, value


def _spans(data: memoryview) -> Iterator[tuple[int, int | memoryview, int, int]]:
    """Yield number, value, begin and end of each field of a message."""
    at = 0
    while at < len(data):
        begin = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value, begin, at
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise NotOnnxError("not an ONNX model: unknown kind of field")
        if size > len(data) - at or number == 0:
            raise NotOnnxError("not an ONNX model: a field ends beyond its message")
        at += size
        yield number, data[at - size : at], begin, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        if at + k >= len(data):
            break
        byte = data[at + k]
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at + k + 1
    raise NotOnnxError("not an ONNX model: a number does not end")


def _nested(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise NotOnnxError("not an ONNX model: expected a message, got a number")
    return value


def _text(value: int | memoryview | None) -> str:
    if value is None or isinstance(value, int):
        raise NotOnnxError("metadata without key or value")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as e:
        raise NotOnnxError("metadata is not UTF-8") from e
