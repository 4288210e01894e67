"""The fields of a record that a stranger wrote: exactly these, each of its type and size."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from flwr.app import ConfigRecord, RecordDict

MAX_TEXT = 200
MAX_AUS = 100
MAX_LINE = 500  # of one signature on it


class RecordError(ValueError):
    """A message does not hold what it should, or holds more."""


def fields_of(content: RecordDict, name: str, keys: Set[str]) -> Mapping[str, Any]:
    """Return the fields of a record, which must be exactly these."""
    record = content[name]
    if not isinstance(record, ConfigRecord):
        raise RecordError(f"{name}: expected a config record")
    expect(name, record, keys)
    return dict(record)


def expect(what: str, got: Mapping[str, object], want: Set[str]) -> None:
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
