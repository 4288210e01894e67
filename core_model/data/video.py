"""Read frames of a video, or of a folder of numbered images, a few at a time. No torch.

Frames are numbered from 1, as BP4D, BP4D+ and DISFA number them. Only one frame is in memory.

Shapes: H, W = height and width of a frame. Images are RGB bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from core_model.data.picture import MAX_PIXELS, Image, PictureError, read_picture

IMAGE_ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"})
VIDEO_ENDINGS = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
)
SEEK_FROM = 64  # frames to skip; fewer are decoded and dropped, which is quicker than a seek
PROBED = 24  # frames whose times tell whether a video is steady
UNSTEADY = 0.35  # share of a frame's duration that a time may be off
ESTIMATE = 2  # frames by which a container's count may be off without anything being lost


class VideoError(Exception):
    """A video or a folder of images cannot be read, or ends too early. Names the file."""


def is_video(path: Path) -> bool:
    """Is this a video file, by its name?"""
    return path.suffix.lower() in VIDEO_ENDINGS


def num_frames(path: Path) -> int:
    """Return how many frames a folder holds, or a video says that it holds.

    Raises:
        VideoError: It cannot be read.
    """
    if path.is_dir():
        return len(image_files(path))
    capture = _opened(path)
    try:
        return _count(capture)
    finally:
        capture.release()


def frames(path: Path, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, Image]]:
    """Yield numbers and images of the frames asked for, in rising order.

    Args:
        path: A video, or a folder of numbered images.
        numbers: Which frames, from 1; None: all of them.

    Raises:
        VideoError: It cannot be read, or a frame that was asked for is not there.
    """
    wanted = None if numbers is None else sorted(set(numbers))
    if wanted and wanted[0] < 1:
        raise VideoError(f"{path.name}: frames are numbered from 1, got {wanted[0]}")
    if path.is_dir():
        yield from _from_folder(path, wanted)
    elif wanted is None:
        yield from _all_of_video(path)
    else:
        yield from _some_of_video(path, wanted)


def read_image(path: Path) -> Image:
    """Read one image. Shape: (H, W, 3).

    Raises:
        VideoError: It is not an image, is damaged or is too large.
    """
    try:
        return read_picture(path)
    except PictureError as e:
        raise VideoError(f"{path.name}: {e}") from e


# --- folders ---------------------------------------------------------------------------------


def image_files(folder: Path) -> dict[int, Path]:
    """Return the images of a folder by number: the last digits of each name, padded or not.

    Raises:
        VideoError: A name has no number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_ENDINGS or path.name.startswith("."):
            continue
        digits = re.search(r"(\d+)\D*$", path.stem)
        if digits is None:
            raise VideoError(f"{folder.name}/{path.name}: expected a frame number in its name")
        number = int(digits[1])
        if number in found:
            raise VideoError(
                f"{folder.name}: {found[number].name} and {path.name} are both frame {number}"
            )
        found[number] = path
    return dict(sorted(found.items()))


def _from_folder(folder: Path, wanted: list[int] | None) -> Iterator[tuple[int, Image]]:
    files = image_files(folder)
    for number in files if wanted is None else wanted:
        if number not in files:
            raise VideoError(f"{folder.name}: no image of frame {number}, of {len(files)} images")
        yield number, read_image(files[number])


# --- videos ----------------------------------------------------------------------------------


def _opened(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise VideoError(f"{path.name}: no such file")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise VideoError(f"{path.name}: not a video that can be read, or cut off at its start")
    size = (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if size[0] * size[1] > MAX_PIXELS:  # before anything of it is decoded
        capture.release()
        raise VideoError(f"{path.name}: frames of more than {MAX_PIXELS:,} pixels")
    return capture


def _count(capture: cv2.VideoCapture) -> int:
    """Return the number of frames that the container tells of: exact or an estimate."""
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def _all_of_video(path: Path) -> Iterator[tuple[int, Image]]:
    capture = _opened(path)
    try:
        number = 0
        while capture.grab():
            number += 1
            yield number, _retrieved(capture, path, number)
        if number == 0 or number < _count(capture) - ESTIMATE:
            raise VideoError(_too_short(path, number, capture))
    finally:
        capture.release()


def _some_of_video(path: Path, wanted: list[int]) -> Iterator[tuple[int, Image]]:
    capture = _opened(path)
    try:
        may_seek = _would_seek(wanted) and is_steady(path)
        at = 0  # number of the frame that was grabbed last
        for number in wanted:
            if may_seek and number - at > SEEK_FROM:
                capture.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
                at = round(capture.get(cv2.CAP_PROP_POS_FRAMES))
                if at != number - 1:
                    raise VideoError(_too_short(path, at, capture, number))
            while at < number:
                if not capture.grab():
                    raise VideoError(_too_short(path, at, capture, number))
                at += 1
            yield number, _retrieved(capture, path, number)
    finally:
        capture.release()


def _would_seek(wanted: list[int]) -> bool:
    return any(b - a > SEEK_FROM for a, b in zip([0, *wanted], wanted, strict=False))


def is_steady(path: Path) -> bool:
    """Do the first frames follow each other at the same pace?

    Where they do not, as in recordings of telephones, a seek by number lands on another frame, and
    labels would belong to the wrong faces.
    """
    capture = _opened(path)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        times: list[float] = []
        while len(times) < PROBED and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    finally:
        capture.release()
    if rate <= 0 or len(times) < 2:
        return False
    expected = 1000.0 / rate
    return bool(np.all(np.abs(np.diff(times) - expected) < UNSTEADY * expected))


def _retrieved(capture: cv2.VideoCapture, path: Path, number: int) -> Image:
    is_there, bgr = capture.retrieve()
    if not is_there or bgr is None:
        raise VideoError(f"{path.name}: frame {number} cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _too_short(path: Path, last: int, capture: cv2.VideoCapture, wanted: int | None = None) -> str:
    said = _count(capture)
    if wanted is not None and said and wanted > said:
        return f"{path.name}: has {said} frames, frame {wanted} was asked for"
    return f"{path.name}: cut off or damaged after frame {last} of {said}"
