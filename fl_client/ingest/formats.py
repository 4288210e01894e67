"""The formats that can be ingested, by name."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from core_model.data import bp4d, bp4d_plus, disfa, fmae_jsonl, people_folder, table
from core_model.data.source import Found, LayoutError


class Format(enum.StrEnum):
    """Of a data set."""

    BP4D = "bp4d"
    BP4D_PLUS = "bp4d_plus"
    DISFA = "disfa"
    FMAE = "fmae"
    TABLE = "table"
    FOLDER = "folder"


@dataclass(frozen=True)
class Details:
    """What a format wants to know besides the folder."""

    labels: Path | None = None  # fmae and table: the file of labels
    data_set: fmae_jsonl.DataSet = "bp4d"  # fmae: whose labels they are
    camera: disfa.Camera = "right"  # disfa
    values: table.Values = "occurrence"  # table: what 1 means
    licence: str = people_folder.LICENCE  # folder


def find(form: Format, root: Path, details: Details) -> Found:
    """Return the recordings of a data set.

    Raises:
        LayoutError: It is not laid out as its format says.
    """
    match form:
        case Format.BP4D:
            return bp4d.find(root)
        case Format.BP4D_PLUS:
            return bp4d_plus.find(root)
        case Format.DISFA:
            return disfa.find(root, details.camera)
        case Format.FOLDER:
            return people_folder.find(root, details.licence)
    if details.labels is None:
        raise LayoutError(f"{form} needs --labels: the file with a line for each frame")
    if form is Format.FMAE:
        return fmae_jsonl.find(root, details.labels, details.data_set)
    return table.find(root, details.labels, details.values)


def prefix_of(form: Format, details: Details) -> str:
    """Return what goes before a data set's names of people: BP4D's F001 is not BP4D+'s."""
    if form is Format.FMAE:
        return f"{details.data_set}-"
    return f"{form}-" if form in (Format.BP4D, Format.BP4D_PLUS, Format.DISFA) else ""
