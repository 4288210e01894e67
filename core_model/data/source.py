"""A recording as it lies in somebody's data set, before it is ingested. No torch, no decoding."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION, check_aus
from core_model.data.labels import UNKNOWN, Labels
from core_model.data.video import IMAGE_ENDINGS, is_video

PRESENT = 2
"""Stands for 'present' where a coder tells occurrence alone: the least intensity that counts."""


class LayoutError(ValueError):
    """A data set is not laid out as its format says, or a label file is not of its format."""


@dataclass(frozen=True)
class Source:
    """One recording of one person.

    Attributes:
        recording_id: Unique within the data set.
        subject: What the data set calls the person.
        media: A video, or a folder of numbered images.
        licence: Of the data set.
        labels: Reads the labels; None: there are none.
        is_numbered: May the names of the images be trusted as frame numbers? Otherwise they are
            numbered from 1 in the order of their names.
    """

    recording_id: str
    subject: str
    media: Path
    licence: str
    labels: Callable[[], Labels] | None = None
    is_numbered: bool = True


@dataclass(frozen=True)
class Found:
    """What a data set holds: recordings, and what was passed over, with the reason."""

    sources: tuple[Source, ...]
    passed_over: tuple[str, ...] = field(default=())


def sub_folder(root: Path, *names: str) -> Path | None:
    """Return the first of some folders that is there, however its name is capitalised."""
    there = {p.name.lower(): p for p in root.iterdir() if p.is_dir()} if root.is_dir() else {}
    return next((there[n.lower()] for n in names if n.lower() in there), None)


def media_in(folder: Path) -> Iterator[Path]:
    """Yield the videos and sub-folders that lie directly in a folder, in the order of names."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (path.is_dir() or is_video(path)):
            yield path


def holds_images(folder: Path) -> bool:
    """Does an image lie directly in this folder?"""
    return any(p.suffix.lower() in IMAGE_ENDINGS for p in folder.iterdir() if p.name[0] != ".")


def read_grid(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of each line that is not empty.

    Raises:
        LayoutError: The file cannot be read as text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            for number, row in enumerate(csv.reader(f, delimiter=delimiter), start=1):
                if any(cell.strip() for cell in row):
                    yield number, [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise LayoutError(f"{path.name}: cannot be read as a table ({e})") from e


def whole_numbers(path: Path, line: int, cells: Sequence[str]) -> list[int]:
    """Return the cells of a line as whole numbers.

    Raises:
        LayoutError: One is not.
    """
    try:
        return [int(cell) for cell in cells]
    except ValueError as e:
        raise LayoutError(f"{path.name}, line {line}: expected whole numbers, got {cells}") from e


def labels_of(name: str, values: Mapping[int, NDArray[np.int64]], frames: Sequence[int]) -> Labels:
    """Return labels, of the AUs that Omote knows, frames in rising order.

    Args:
        name: Of the file, for errors.
        values: By AU: intensity 0-5 or ``UNKNOWN`` for each frame.
        frames: Numbers from 1, in any order.

    Raises:
        LayoutError: A frame stands twice or before 1, a value is none, or there is no known AU.
    """
    numbers = np.asarray(frames, np.int64)
    if len(numbers) and (numbers.min() < 1 or len(np.unique(numbers)) != len(numbers)):
        raise LayoutError(f"{name}: expected each frame once, numbered from 1")
    aus = tuple(au for au in UNION if au in values)
    if not aus or check_aus(aus) != aus:
        raise LayoutError(f"{name}: no column of an AU that Omote knows: {list(UNION)}")
    table = np.stack([np.asarray(values[au], np.int64) for au in aus], axis=1)
    if bad := sorted(set(np.unique(table).tolist()) - {0, 1, 2, 3, 4, 5, UNKNOWN}):
        raise LayoutError(f"{name}: expected values 0-5 or 9 (unknown), got {bad[:5]}")
    order = np.argsort(numbers, kind="stable")
    return Labels(aus, numbers[order], table[order].astype(np.int8))


def digits(text: str) -> int | None:
    """Return the only whole number in a text, such as a column's name; None if there is none."""
    found = re.findall(r"\d+", text)
    return int(found[0]) if len(found) == 1 else None
