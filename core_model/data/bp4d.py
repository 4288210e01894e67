"""BP4D as it is handed out: occurrence of AUs in CSV, frames as images or videos.

::

    AUCoding/AU_OCC/F001_T1.csv       or directly in AUCoding/, as in FERA 2015
    AUCoding/AU_INT/AU06/F001_T1_AU06.csv    intensities, if there are any
    F001/T1/2440.jpg                  or F001_T1.avi, 2F01_T1.avi, 2F01_01.avi

The first row of an occurrence file is a row of numbers: column 0 the frame, **column k AU k**. 9 is
'not coded'. A last column that is no AU is FERA's mark of occlusion: nothing is known then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import BP4D
from core_model.data.labels import UNKNOWN, Labels
from core_model.data.source import (
    PRESENT,
    Found,
    LayoutError,
    Source,
    digits,
    labels_of,
    media_in,
    read_grid,
    sub_folder,
    whole_numbers,
)

LICENCE = "BP4D (non-commercial research; models trained on it are encumbered)"
INTENSITY_AUS = (6, 10, 12, 14, 17)
_LABELS = re.compile(r"([FM])(\d{3})_T(\d{1,2})\.csv", re.IGNORECASE)
_MEDIA = re.compile(r"2?([FM])(\d{2,3})_(T?)(\d{1,2})", re.IGNORECASE)
_TASKS = {1: 1, 3: 2, 7: 3, 8: 4, 9: 5, 10: 6, 11: 7, 13: 8}  # of raw videos: 2F01_03 is task 2
_PLACES = ("2D+3D", "Sequences", "Videos", "Images")

Column = NDArray[np.int64]
Table = tuple[list[int], dict[int, Column]]  # frames, and the values of each AU
Read = Callable[[Path], Table]


def find(root: Path) -> Found:
    """Return the recordings of BP4D.

    Raises:
        LayoutError: There are no label files here.
    """
    return find_tasks(root, "bp4d", LICENCE, read_occurrence)


def find_tasks(root: Path, name: str, licence: str, read: Read) -> Found:
    """Return the recordings of BP4D or BP4D+, which are laid out alike.

    Args:
        root: Folder of the data set.
        name: Of the data set; begins the names of recordings.
        licence: Of the data set.
        read: Reads an occurrence file.

    Raises:
        LayoutError: There are no label files here.
    """
    coding = sub_folder(root, "AUCoding") or root
    folder = sub_folder(coding, "AU_OCC") or coding
    files = {m: p for p in sorted(folder.glob("*")) if (m := _LABELS.fullmatch(p.name))}
    if not files:
        raise LayoutError(f"{root}: expected label files such as AUCoding/AU_OCC/F001_T1.csv")
    media = dict(_media(root))
    sources, passed_over = [], []
    for match, path in files.items():
        subject, task = f"{match[1].upper()}{match[2]}", int(match[3])
        if (subject, task) not in media:
            passed_over.append(f"{path.name}: no frames: expected {subject}/T{task}/ or a video")
            continue
        sources.append(
            Source(
                recording_id=f"{name}-{subject}-T{task}",
                subject=subject,
                media=media[subject, task],
                licence=licence,
                labels=partial(_labels, path, coding, read),
            )
        )
    return Found(tuple(sources), tuple(passed_over))


def _media(root: Path) -> Iterator[tuple[tuple[str, int], Path]]:
    """Yield subject and task of every folder of images and every video. Later ones count."""
    places = [root, *(p for n in _PLACES if (p := sub_folder(root, n)))]
    for path in (p for place in places for p in media_in(place)):
        name = path.stem if path.is_file() else path.name
        if match := _MEDIA.fullmatch(name):
            number = int(match[4])
            task = number if match[3] else _TASKS.get(number)
            if task is not None:
                yield (_subject(match), task), path
        elif (person := re.fullmatch(r"([FM])(\d{3})", name, re.IGNORECASE)) and path.is_dir():
            for task_folder in (p for p in media_in(path) if p.is_dir()):
                if found := re.fullmatch(r"T(\d{1,2})", task_folder.name, re.IGNORECASE):
                    yield (_subject(person), int(found[1])), task_folder


def _subject(match: re.Match[str]) -> str:
    return f"{match[1].upper()}{int(match[2]):03d}"


# --- label files -----------------------------------------------------------------------------


def read_occurrence(path: Path) -> Table:
    """Read an occurrence file whose columns are named by AU.

    Raises:
        LayoutError: It is not one.
    """
    lines = read_grid(path)
    _, header = next(lines, (1, []))
    numbers = [digits(cell) for cell in header]
    if numbers[:1] != [0] or not set(BP4D) <= set(numbers):
        raise LayoutError(
            f"{path.name}: expected a first row 0,1,2,... with a column for each of AU {BP4D}, "
            f"got {header[:6]}"
        )
    columns = {au: numbers.index(au) for au in BP4D}
    marks_occlusion = numbers[-1] not in BP4D
    return read_table(path, lines, len(header), columns, -1 if marks_occlusion else None)


def read_table(
    path: Path,
    lines: Iterator[tuple[int, list[str]]],
    width: int,
    columns: dict[int, int],
    occlusion: int | None,
) -> Table:
    """Read the rows of an occurrence file: frame first, values 0, 1 or 9.

    Args:
        path: For errors.
        lines: Rows after the header.
        width: Cells of a row.
        columns: Where each AU stands.
        occlusion: Where the mark of occlusion stands.

    Raises:
        LayoutError: A row is not of this form.
    """
    rows = []
    for number, cells in lines:
        if len(cells) != width:
            raise LayoutError(f"{path.name}, line {number}: expected {width} cells")
        rows.append(whole_numbers(path, number, cells))
    table = np.array(rows, np.int64).reshape(len(rows), width)
    values = {au: table[:, column] for au, column in columns.items()}
    if bad := {v for column in values.values() for v in np.unique(column)} - {0, 1, UNKNOWN}:
        raise LayoutError(f"{path.name}: expected 0, 1 or 9 (not coded), got {sorted(bad)[:5]}")
    is_hidden = table[:, occlusion] == 1 if occlusion is not None else np.zeros(len(rows), bool)
    hidden = {au: np.where(is_hidden, UNKNOWN, column) for au, column in values.items()}
    return table[:, 0].tolist(), hidden


def _labels(path: Path, coding: Path, read: Read) -> Labels:
    """Return the labels of one recording: occurrence, and how strong where that was coded too."""
    frames, occurs = read(path)
    values = {au: np.where(column == 1, PRESENT, column) for au, column in occurs.items()}
    folder = sub_folder(coding, "AU_INT", "AU Intensity Codes3.0")
    for au in INTENSITY_AUS if folder is not None else ():
        assert folder is not None  # mypy does not see the condition above
        strong = _intensity(folder / f"AU{au:02d}" / f"{path.stem}_AU{au:02d}.csv", frames)
        # Occurrence was coded on its own and decides; intensity only tells how strong.
        tells = (values[au] == PRESENT) & (strong != UNKNOWN) & (strong > PRESENT)
        values[au] = np.where(tells, strong, values[au])
    return labels_of(path.name, values, frames)


def _intensity(path: Path, frames: list[int]) -> Column:
    """Return the intensity of one AU in each frame; unknown where there is none."""
    found: dict[int, int] = {}
    if path.exists():
        for number, cells in read_grid(path):
            frame, value = whole_numbers(path, number, [*cells, "", ""][:2])
            found[frame] = value
    return np.array([found.get(frame, UNKNOWN) for frame in frames], np.int64)
