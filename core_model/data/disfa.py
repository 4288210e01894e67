"""DISFA as it is handed out: intensities in text files, one for each AU, and two cameras.

::

    ActionUnit_Labels/SN001/SN001_au1.txt               lines "frame,intensity", 0-5
    Videos_RightCamera/RightVideoSN001_comp.avi         some are named rightVideo..., ..._Comp

A video has up to ten frames more than were coded; those stay out. Intensity 2 and more counts as
occurrence, as in all of the literature.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from core_model.action_units import DISFA_12
from core_model.data.labels import UNKNOWN, Labels
from core_model.data.source import (
    Found,
    LayoutError,
    Source,
    labels_of,
    media_in,
    read_grid,
    sub_folder,
    whole_numbers,
)

LICENCE = "DISFA (non-commercial research)"
Camera = Literal["left", "right"]
_VIDEO = re.compile(r"(left|right)Video(SN\d{1,3})(_comp)?", re.IGNORECASE)
_AU_FILE = re.compile(r"SN\d{1,3}_au(\d{1,2})\.txt", re.IGNORECASE)


def find(root: Path, camera: Camera = "right") -> Found:
    """Return the recordings of DISFA.

    Args:
        root: Folder of the data set.
        camera: FMAE used the right one, ME-GraphAU the left.

    Raises:
        LayoutError: There are no labels here.
    """
    folder = sub_folder(root, "ActionUnit_Labels")
    if folder is None:
        raise LayoutError(f"{root}: expected label files ActionUnit_Labels/SN001/SN001_au1.txt")
    videos = _videos(root, camera)
    sources, passed_over = [], []
    for person in (p for p in media_in(folder) if p.is_dir()):
        subject = _plain(person.name)
        if subject is None:
            continue
        if subject not in videos:
            passed_over.append(f"{person.name}: no video of the {camera} camera")
            continue
        sources.append(
            Source(
                recording_id=f"disfa-{subject}-{camera}",
                subject=subject,
                media=videos[subject],
                licence=LICENCE,
                labels=partial(read_person, person),
            )
        )
    return Found(tuple(sources), tuple(passed_over))


def read_person(folder: Path) -> Labels:
    """Read all AU files of one person. What one file leaves out is unknown.

    Raises:
        LayoutError: A file is not of the format, or there is none.
    """
    coded: dict[int, dict[int, int]] = {}
    for path in sorted(folder.iterdir()):
        match = _AU_FILE.fullmatch(path.name)
        if match is not None and int(match[1]) in DISFA_12:
            coded[int(match[1])] = _read_au(path)
    frames = sorted({frame for values in coded.values() for frame in values})
    columns = {
        au: np.array([values.get(frame, UNKNOWN) for frame in frames], np.int64)
        for au, values in coded.items()
    }
    return labels_of(folder.name, columns, frames)


def _read_au(path: Path) -> dict[int, int]:
    values: dict[int, int] = {}
    for line, cells in read_grid(path):
        pair = whole_numbers(path, line, cells)
        if len(pair) != 2 or pair[0] in values:
            raise LayoutError(
                f"{path.name}, line {line}: expected frame,intensity, each frame once"
            )
        values[pair[0]] = pair[1]
    return values


def _videos(root: Path, camera: Camera) -> dict[str, Path]:
    place = sub_folder(root, f"Videos_{camera}Camera", f"Video_{camera}Camera") or root
    found: dict[str, Path] = {}
    for path in media_in(place):
        match = _VIDEO.fullmatch(path.stem if path.is_file() else path.name)
        if match is not None and match[1].lower() == camera:
            subject = _plain(match[2])
            assert subject is not None  # the pattern holds one
            found[subject] = path
    return found


def _plain(name: str) -> str | None:
    match = re.fullmatch(r"SN0*(\d{1,3})", name, re.IGNORECASE)
    return f"SN{int(match[1]):03d}" if match else None
