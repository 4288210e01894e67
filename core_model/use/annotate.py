"""Draw what was read into the picture: boxes, numbers of people, and a bar for each AU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from core_model.data.face import Image
from core_model.data.video import VideoError
from core_model.use.reader import Reading

_ON, _OFF, _TEXT, _SHADE = (255, 176, 59), (140, 150, 160), (255, 255, 255), (20, 24, 30)


def annotate(image: Image, readings: Sequence[Reading], action_units: Sequence[int]) -> Image:
    """Return the picture with its readings. Shape: (H, W, 3), RGB, kept."""
    out = image.copy()
    for reading in readings:
        _face(out, reading, action_units)
    return out


class VideoFile:
    """Writes an annotated video (MP4); every frame must be of one size."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._file: cv2.VideoWriter | None = None

    def write(self, image: Image) -> None:
        """Add a frame.

        Raises:
            VideoError: The video cannot be written.
        """
        if self._file is None:
            height, width = image.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._file = cv2.VideoWriter(str(self._path), code, self._rate, (width, height))
            if not self._file.isOpened():
                raise VideoError(f"{self._path.name}: this OpenCV cannot write MP4 here")
        self._file.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.release()


def _face(out: Image, reading: Reading, action_units: Sequence[int]) -> None:
    height, width = out.shape[:2]
    unit = max(1.0, max(height, width) / 640)
    left, top, size = 0, 0, 0
    if reading.face is not None:
        x, y, w, h = (round(float(v)) for v in reading.face.box)
        cv2.rectangle(out, (x, y), (x + w, y + h), _TEXT, max(1, round(1.5 * unit)), cv2.LINE_AA)
        _write(out, f"{reading.person}", (x, y - round(4 * unit)), unit)
        left, top, size = x + w + round(6 * unit), y, w
    line = round(13 * unit)
    panel = round(92 * unit)
    if left + panel > width:  # no room on the right: to the left of the face
        left = max(0, left - panel - size - round(12 * unit))
    top = max(0, min(top, height - line * len(action_units)))
    _panel(out, reading, action_units, (left, top, panel, line), unit)


def _panel(
    out: Image,
    reading: Reading,
    action_units: Sequence[int],
    place: tuple[int, int, int, int],
    unit: float,
) -> None:
    left, top, width, line = place
    area = out[top : top + line * len(action_units), left : left + width]
    area[:] = (0.45 * area + 0.55 * np.array(_SHADE)).astype(np.uint8)
    for a, au in enumerate(action_units):
        y = top + line * a
        name = f"AU{au}" + ("?" if reading.occurs[a] < 0 else "")
        _write(out, name, (left + round(3 * unit), y + round(10 * unit)), 0.8 * unit)
        start = left + round(40 * unit)
        end = start + round(48 * unit * float(reading.probabilities[a]))
        colour = _ON if reading.occurs[a] > 0 else _OFF
        cv2.rectangle(
            out, (start, y + round(3 * unit)), (end, y + line - round(3 * unit)), colour, -1
        )


def _write(out: Image, text: str, at: tuple[int, int], unit: float) -> None:
    for colour, width in ((_SHADE, 3), (_TEXT, 1)):
        cv2.putText(
            out, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * unit, colour,
            max(1, round(width * unit * 0.7)), cv2.LINE_AA,
        )  # fmt: skip
