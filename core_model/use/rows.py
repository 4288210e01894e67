"""One face of one frame as a row of a table, under the column names that AU users know.

``omote``: ours. ``openface``: columns of OpenFace 2.2's FeatureExtraction that we can fill.
``pyfeat``: those of py-feat. Neither gets intensities or emotions: this model tells occurrence.
"""

from __future__ import annotations

from typing import Literal

from core_model.predictor import UNSURE
from core_model.use.inputs import Frame
from core_model.use.reader import Reading

Names = Literal["omote", "openface", "pyfeat"]
Cell = str | int | float | None
Row = dict[str, Cell]
Kind = Literal["text", "whole", "number"]
_WHOLE = frozenset({"frame", "person", "face_id", "success", "is_calibrated"})


def columns(names: Names, action_units: tuple[int, ...]) -> dict[str, Kind]:
    """Return the columns in their order, and what they hold."""
    return {name: _kind(names, name) for name in row_of(names, action_units, None, None, "")}


def _kind(names: Names, column: str) -> Kind:
    if column in ("input", "use"):
        return "text"
    if column.startswith("AU"):  # py-feat's AU12 is a probability, ours an occurrence
        is_whole = column.endswith("_c") or (names == "omote" and not column.endswith("_p"))
        return "whole" if is_whole else "number"
    return "whole" if column in _WHOLE else "number"


def row_of(
    names: Names,
    action_units: tuple[int, ...],
    frame: Frame | None,
    reading: Reading | None,
    use: str,
) -> Row:
    """Return a row. What was not seen, or not told for doubt, is None.

    Args:
        names: Whose columns.
        action_units: Of the model.
        frame: Where; None asks for the columns alone.
        reading: What was read; None: no face is in the frame.
        use: Start of the digest of the declared use.
    """
    if names == "openface":
        return _openface(action_units, frame, reading)
    if names == "pyfeat":
        return _pyfeat(action_units, frame, reading)
    row: Row = {
        "input": frame.source if frame else None,
        "frame": frame.number if frame else None,
        "time_s": round(frame.time_s, 4) if frame else None,
        "person": reading.person if reading else None,
        **_box(reading, ("left", "top", "width", "height", "score")),
        "is_calibrated": int(reading.is_calibrated) if reading else None,
    }
    for a, au in enumerate(action_units):
        row[f"AU{au}"] = _occurs(reading, a)
        row[f"AU{au}_p"] = _probability(reading, a)
    return {**row, "use": use}


def _openface(aus: tuple[int, ...], frame: Frame | None, reading: Reading | None) -> Row:
    row: Row = {
        "frame": frame.number if frame else None,
        "face_id": reading.person - 1 if reading else 0,
        "timestamp": round(frame.time_s, 3) if frame else None,
        "confidence": round(reading.face.score, 3) if reading and reading.face else 0.0,
        "success": int(reading is not None),
    }
    return row | {f"AU{au:02d}_c": _occurs(reading, a) for a, au in enumerate(aus)}


def _pyfeat(aus: tuple[int, ...], frame: Frame | None, reading: Reading | None) -> Row:
    names = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore")
    row = _box(reading, names)
    row |= {f"AU{au:02d}": _probability(reading, a) for a, au in enumerate(aus)}
    row["input"] = frame.source if frame else None
    row["frame"] = frame.number - 1 if frame else None  # py-feat counts from 0
    return row


def _box(reading: Reading | None, names: tuple[str, ...]) -> Row:
    if reading is None or reading.face is None:
        return dict.fromkeys(names)
    values = [*reading.face.box.tolist(), reading.face.score]
    digits = (1, 1, 1, 1, 3)
    return {n: round(v, d) for n, v, d in zip(names, values, digits, strict=True)}


def _occurs(reading: Reading | None, a: int) -> int | None:
    if reading is None or reading.occurs[a] == UNSURE:
        return None
    return int(reading.occurs[a])


def _probability(reading: Reading | None, a: int) -> float | None:
    return None if reading is None else round(float(reading.probabilities[a]), 4)
