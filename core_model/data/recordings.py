"""A site's list of recordings: the standard format on disk.

``recordings.csv`` lists one continuous recording of one subject a line; paths are relative to it::

    recording_id,subject_id,frames,labels,licence
    s01-r1,s01,s01-r1,s01-r1.csv,CC0-1.0

``frames`` is a folder of RGB face crops ``000001.png`` (numbered from 1, gaps allowed), or a file
``.crops`` of a site's encrypted cache, which ``omote-site ingest`` writes. ``labels``
may be empty (unlabelled: pretraining only); its format is in ``core_model.data.labels``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

COLUMNS = ("recording_id", "subject_id", "frames", "labels", "licence")


class Recording(BaseModel):
    """One continuous recording of one subject. ``subject_id`` never leaves the site."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    recording_id: str = Field(min_length=1)
    subject_id: str = Field(min_length=1)
    frames: Path
    labels: Path | None
    licence: str
    usable: tuple[tuple[int, int], ...] | None = None  # first and last frames; None: all

    def may_use(self, frame: int) -> bool:
        """May the frame of this number be used?"""
        return self.usable is None or any(a <= frame <= b for a, b in self.usable)

    def frame_paths(self) -> list[Path]:
        """Return the frame images that may be used, in the order of their numbers."""
        return [p for p in sorted(self.frames.glob("*.png")) if self.may_use(int(p.stem))]


def read_recordings(listing: Path) -> tuple[Recording, ...]:
    """Read ``recordings.csv``; the paths returned are absolute.

    Raises:
        ValueError: A column or a value is missing, or a recording is listed twice. Says which line.
        FileNotFoundError: There is no such list.
    """
    root = listing.resolve().parent
    with listing.open(newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{listing}: expected columns {COLUMNS}, got {reader.fieldnames}")
        recordings = []
        for line, row in enumerate(reader, start=2):
            if None in row or None in row.values():
                raise ValueError(f"{listing}, line {line}: expected {len(COLUMNS)} values")
            labels = root / row["labels"] if row["labels"] else None
            try:
                recording = Recording.model_validate(
                    {**row, "frames": root / row["frames"], "labels": labels}
                )
            except ValidationError as e:
                raise ValueError(f"{listing}, line {line}: {e}") from e
            recordings.append(recording)
    ids = [r.recording_id for r in recordings]
    if len(set(ids)) != len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise ValueError(f"{listing}: recordings listed twice: {twice[:5]}")
    return tuple(recordings)


def write_recordings(listing: Path, recordings: Iterable[Recording]) -> None:
    """Write ``recordings.csv``, with paths relative to it."""
    root = listing.resolve().parent
    with listing.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        for r in recordings:
            labels = "" if r.labels is None else r.labels.relative_to(root).as_posix()
            frames = r.frames.relative_to(root).as_posix()
            writer.writerow([r.recording_id, r.subject_id, frames, labels, r.licence])
