"""Consent in tables, CSV or JSONL: a line is one answer of one person to one purpose."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from consent.envelope import parse_json
from consent.errors import MalformedError
from consent.intake import Answer, Problem, read_answer

REQUIRED = (
    "outside_id",
    "relation",
    "jurisdiction",
    "purpose",
    "answer",
    "kind",
    "evidence",
    "notice",
    "version",
    "language",
)
OPTIONAL = ("adult_from", "notice_sha256", "expires_at", "max_rounds", "max_epsilon", "territories")
LIMITS = ("max_rounds", "max_epsilon", "territories")
MAX_BYTES = 256_000_000


def read_csv(data: bytes) -> Iterator[tuple[int, Answer | Problem]]:
    """Yield each line's number and its answer, or what is wrong with it.

    Raises:
        MalformedError: Not UTF-8, or the header lacks a column or has an unknown one.
    """
    lines = _lines(_text(data))
    columns = [name.strip() for name in next(lines, (1, []))[1]]
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    if missing or unknown or len(set(columns)) != len(columns):
        raise MalformedError(
            f"header: missing {', '.join(missing) or 'nothing'}; {len(unknown)} unknown columns. "
            f"Expected, separated by commas: {','.join(REQUIRED)}; also known: {','.join(OPTIONAL)}"
        )
    for line, cells in lines:
        if not cells:
            continue
        if len(cells) != len(columns):
            reason = f"expected {len(columns)} cells, got {len(cells)}"
            yield line, Problem(line, reason)
            continue
        values = {c: v.strip() for c, v in zip(columns, cells, strict=True) if v.strip()}
        yield line, read_answer(line, _limits({**values}))


def read_jsonl(data: bytes) -> Iterator[tuple[int, Answer | Problem]]:
    """Yield each line's number and its answer, or what is wrong with it.

    Raises:
        MalformedError: Not UTF-8.
    """
    for line, text in enumerate(_text(data).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            values = parse_json(text.encode())
        except MalformedError:
            yield line, Problem(line, "not JSON, a key twice, or a number that is not whole")
            continue
        if not isinstance(values, dict):
            yield line, Problem(line, "expected an object in braces")
        else:
            yield line, read_answer(line, _limits(values))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number the rows as an editor does, also where a cell spans lines."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = rows.line_num + 1
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error as e:
            raise MalformedError(f"line {line}: not CSV: {e}") from e


def _limits(values: dict[str, object]) -> dict[str, object]:
    """Put the columns that limit a grant where ``Answer`` has them."""
    limits = {name: values.pop(name) for name in LIMITS if name in values}
    if isinstance(limits.get("territories"), str):
        limits["territories"] = str(limits["territories"]).split()
    return values | {"conditions": limits} if limits else values


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise MalformedError(f"the file is larger than {MAX_BYTES} bytes; split it")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as e:
        raise MalformedError("the file is not UTF-8; save it as CSV UTF-8") from e
