"""The label files of FMAE's code: a line for each image, in either of two forms.

::

    {"img_path": "2F15_T8/frame_1.jpg", "AUs": [999, 999, 4, 999, ...]}    one entry for each AU
    {"img_path": "2F15_T8/frame_1.jpg", "AUs": [4, 10, 14]}                those present alone

**999 means absent**: FMAE's code turns BP4D's 'not coded' into it as well, so what was unknown in
the data set cannot be told from absent here. Take the data set's own files where there are any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from core_model.action_units import BP4D, DISFA_8
from core_model.data.labels import Labels
from core_model.data.source import PRESENT, Found, LayoutError, Source, digits, labels_of

DataSet = Literal["bp4d", "bp4d_plus", "disfa"]
ABSENT = 999
_AUS = {"bp4d": BP4D, "bp4d_plus": BP4D, "disfa": DISFA_8}
_SUBJECT = {  # where FMAE's code finds the person in a path
    "bp4d": re.compile(r"^2?([FM])(\d{2,3})_", re.IGNORECASE),
    "bp4d_plus": re.compile(r"^([FM])(\d{3})", re.IGNORECASE),
    "disfa": re.compile(r"(SN)(\d{3})$", re.IGNORECASE),
}

Rows = dict[int, frozenset[int]]  # AUs present, by frame


def find(root: Path, labels: Path, data_set: DataSet) -> Found:
    """Return the recordings of a label file: one for each folder of images.

    Args:
        root: What the paths in the file are relative to.
        labels: The file.
        data_set: Whose AUs and names of people it has.

    Raises:
        LayoutError: A line is not of the format.
    """
    folders: dict[PurePosixPath, Rows] = {}
    for line, path, present in _lines(labels, _AUS[data_set]):
        frame = digits(path.stem)
        rows = folders.setdefault(path.parent, {})
        if frame is None or frame < 1 or frame in rows:
            raise LayoutError(f"{labels.name}, line {line}: expected each frame once, from 1")
        rows[frame] = present
    sources, passed_over = [], []
    for folder, rows in sorted(folders.items()):
        match = _SUBJECT[data_set].search(folder.name if data_set == "disfa" else str(folder))
        if match is None:
            raise LayoutError(f"{labels.name}: no person of {data_set} in the path {folder}")
        if not (root / folder).is_dir():
            passed_over.append(f"{folder}: no such folder of images")
            continue
        sources.append(
            Source(
                recording_id=f"{data_set}-{'-'.join(folder.parts)}",
                subject=f"{match[1].upper()}{int(match[2]):03d}",
                media=root / folder,
                licence=f"{data_set} (non-commercial research)",
                labels=partial(_labels, labels.name, rows, _AUS[data_set]),
            )
        )
    return Found(tuple(sources), tuple(passed_over))


def _lines(
    labels: Path, aus: tuple[int, ...]
) -> Iterator[tuple[int, PurePosixPath, frozenset[int]]]:
    """Yield line, path and the AUs present."""
    try:
        text = labels.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise LayoutError(f"{labels.name}: cannot be read ({e})") from e
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        try:
            value = json.loads(row)
            path, listed = PurePosixPath(value["img_path"]), value["AUs"]
            present = _present([int(v) for v in listed], aus)
        except (ValueError, KeyError, TypeError) as e:
            raise LayoutError(
                f"{labels.name}, line {line}: expected img_path and AUs, {len(aus)} of them or "
                "those present"
            ) from e
        if path.is_absolute() or ".." in path.parts:
            raise LayoutError(f"{labels.name}, line {line}: a path out of the data set")
        yield line, path, present


def _present(listed: list[int], aus: tuple[int, ...]) -> frozenset[int]:
    """Return the AUs present. ValueError: neither of the two forms."""
    if ABSENT in listed:
        if len(listed) != len(aus) or any(
            v not in (ABSENT, a) for v, a in zip(listed, aus, strict=True)
        ):
            raise ValueError("not one entry for each AU in order")
        return frozenset(listed) - {ABSENT}
    if not set(listed) <= set(aus) or len(set(listed)) != len(listed):
        raise ValueError("not AUs of this data set")
    return frozenset(listed)


def _labels(name: str, rows: Rows, aus: tuple[int, ...]) -> Labels:
    frames = sorted(rows)
    columns = {
        au: np.array([PRESENT if au in rows[f] else 0 for f in frames], np.int64) for au in aus
    }
    return labels_of(name, columns, frames)
