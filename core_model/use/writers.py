"""Write rows as they come: CSV, JSON lines, Parquet. Memory does not grow with the video.

CSV and JSON lines are written so that an interrupted file can go on: ``mark`` tells where whole
rows end, and opening at a mark cuts what came after.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from core_model.use.rows import Kind, Row

Format = Literal["csv", "jsonl", "parquet"]
ROWS_AT_ONCE = 5_000  # of Parquet


class RowWriter(Protocol):
    """Takes rows in their order."""

    def write(self, row: Row) -> None:
        """Take a row."""

    def mark(self) -> int | None:
        """Bring everything to disk and return its length, or None if it cannot go on from here."""

    def close(self) -> None:
        """Finish the file."""


def parse_formats(text: str) -> tuple[Format, ...]:
    """Return the formats of a list such as ``csv,jsonl``.

    Raises:
        ValueError: One is unknown.
    """
    given = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := set(given) - set(get_args(Format)):
        raise ValueError(f"unknown format {', '.join(unknown)}; known: {get_args(Format)}")
    return cast(tuple[Format, ...], given)


def open_writer(
    kind: Format, path: Path, columns: Mapping[str, Kind], about: dict[str, Any], mark: int | None
) -> RowWriter:
    """Return a writer of a new file, or of one that goes on at ``mark``.

    Raises:
        ValueError: Parquet needs a package that is not installed.
    """
    if kind == "csv":
        return _Lines(path, _CsvLine(tuple(columns)), mark)
    if kind == "jsonl":
        return _Lines(path, _JsonLine(about), mark)
    return _Parquet(path, columns, about)


class _CsvLine:
    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def head(self) -> str:
        return self._line(self._columns)

    def line(self, row: Row) -> str:
        return self._line(["" if row[c] is None else row[c] for c in self._columns])

    @staticmethod
    def _line(values: Sequence[Any]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(values)
        return out.getvalue()


class _JsonLine:
    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about

    def head(self) -> str:
        return json.dumps({"about": self._about}, ensure_ascii=False) + "\n"

    def line(self, row: Row) -> str:
        return json.dumps(row, ensure_ascii=False) + "\n"


class _Lines:
    def __init__(self, path: Path, lines: _CsvLine | _JsonLine, mark: int | None) -> None:
        self._lines = lines
        self._file = path.open("ab")
        self._file.truncate(mark or 0)
        if not mark:
            self._file.write(lines.head().encode())

    def write(self, row: Row) -> None:
        self._file.write(self._lines.line(row).encode())

    def mark(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: Mapping[str, Kind], about: dict[str, Any]) -> None:
        try:
            import pyarrow as pa  # a large package: only for those who ask for Parquet
            import pyarrow.parquet as pq
        except ImportError as e:
            raise ValueError("Parquet needs pyarrow: pip install pyarrow") from e
        self._pa = pa
        types = {"text": pa.string(), "whole": pa.int32(), "number": pa.float64()}
        fields = [pa.field(name, types[kind]) for name, kind in columns.items()]
        self._schema = pa.schema(fields, {"omote": json.dumps(about)})
        self._file = pq.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def mark(self) -> None:
        return None

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []
