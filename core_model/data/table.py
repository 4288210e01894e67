"""A site's own data in one table, CSV or Parquet: a line for each labelled frame.

::

    media,subject,frame,AU1,AU4,AU12
    visit-1.mp4,p01,1,0,1,9

``media`` is a video or a folder of images, relative to the root. Values are 0 and 1, or 0-5 if the
coder told intensities; 9 or nothing is unknown. A recording without labels has one line with the
frame left empty. Columns ``recording`` and ``licence`` may be there. Parquet needs the extra
``[parquet]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from core_model.data.labels import UNKNOWN, Labels
from core_model.data.source import (
    PRESENT,
    Found,
    LayoutError,
    Source,
    labels_of,
    read_grid,
)

Values = Literal["occurrence", "intensity"]
LICENCE = "own recordings"
_NEEDED = ("media", "subject")
_OTHERS = ("frame", "recording", "licence")


@dataclass
class _Rows:
    """The lines of one recording."""

    subject: str
    licence: str
    recording: str
    frames: list[int] = field(default_factory=list)
    values: list[tuple[int, ...]] = field(default_factory=list)


def find(root: Path, table: Path, values: Values = "occurrence") -> Found:
    """Return the recordings of a table.

    Args:
        root: What ``media`` is relative to.
        table: CSV, or Parquet by the end of its name.
        values: Whether 1 means present, or the faintest intensity (which does not count).

    Raises:
        LayoutError: The table is not of this form.
    """
    lines = _parquet(table) if table.suffix.lower() in {".parquet", ".pq"} else _csv(table)
    recordings: dict[str, _Rows] = {}
    aus: tuple[int, ...] = ()
    for line, row in lines:
        aus = aus or _aus(table, row)
        _take(recordings, table, line, row, values)
    sources, passed_over = [], []
    for media, rows in recordings.items():
        if not (root / media).exists():
            passed_over.append(f"{media}: no such video or folder")
            continue
        labels = partial(_labels, table.name, rows, aus) if rows.frames else None
        sources.append(Source(rows.recording, rows.subject, root / media, rows.licence, labels))
    return Found(tuple(sources), tuple(passed_over))


def _aus(table: Path, row: Mapping[str, str]) -> tuple[int, ...]:
    """Return the AUs that have a column."""
    named = [name for name in row if name not in _NEEDED + _OTHERS]
    if missing := [name for name in _NEEDED if name not in row]:
        raise LayoutError(f"{table.name}: columns {missing} are missing")
    if bad := [name for name in named if not (name[:2].upper() == "AU" and name[2:].isdigit())]:
        raise LayoutError(f"{table.name}: expected columns AU1, AU2, ..., got {bad[:5]}")
    return tuple(int(name[2:]) for name in named)


def _take(
    recordings: dict[str, _Rows],
    table: Path,
    line: int,
    row: Mapping[str, str],
    values: Values,
) -> None:
    """Add one line to its recording."""
    where = f"{table.name}, line {line}"
    media, subject = row["media"], row["subject"]
    path = PurePath(media)
    if not media or not subject or path.is_absolute() or ".." in path.parts:
        raise LayoutError(f"{where}: expected a subject, and media inside the data set")
    name = row.get("recording") or "-".join(path.with_suffix("").parts)
    rows = recordings.setdefault(media, _Rows(subject, row.get("licence") or LICENCE, name))
    if rows.subject != subject:
        raise LayoutError(f"{where}: {media} belongs to someone else on an earlier line")
    if not (frame := row.get("frame", "")):
        return
    try:
        given = tuple(int(v) if v else UNKNOWN for k, v in row.items() if k[:2].upper() == "AU")
        rows.frames.append(int(frame))
    except ValueError as e:
        raise LayoutError(f"{where}: expected whole numbers") from e
    if values == "occurrence" and not set(given) <= {0, 1, UNKNOWN}:
        raise LayoutError(
            f"{where}: expected 0, 1 or 9, got {given}; if these are intensities 0-5, say so with "
            "--values intensity"
        )
    is_one = PRESENT if values == "occurrence" else 1
    rows.values.append(tuple(is_one if v == 1 else v for v in given))


def _labels(name: str, rows: _Rows, aus: tuple[int, ...]) -> Labels:
    table = np.array(rows.values, np.int64).reshape(len(rows.frames), len(aus))
    columns = {au: table[:, k] for k, au in enumerate(aus)}
    return labels_of(f"{name}, {rows.recording}", columns, rows.frames)


def _csv(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    lines = read_grid(table)
    _, header = next(lines, (1, []))
    for line, cells in lines:
        if len(cells) != len(header):
            raise LayoutError(f"{table.name}, line {line}: expected {len(header)} cells")
        yield line, dict(zip(header, cells, strict=True))


def _parquet(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as e:
        raise LayoutError(
            f"{table.name}: Parquet needs a package: pip install 'omote[parquet]'"
        ) from e
    try:
        line = 1
        for batch in ParquetFile(table).iter_batches():
            for row in batch.to_pylist():
                line += 1
                yield line, {k: "" if v is None else str(v) for k, v in row.items()}
    except (ArrowException, OSError) as e:
        raise LayoutError(f"{table.name}: not a Parquet file that can be read ({e})") from e
