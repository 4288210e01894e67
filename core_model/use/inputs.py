"""What can be read: images, folders of images, videos, a folder as one recording, a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from core_model.data import video
from core_model.data.face import Image
from core_model.data.video import IMAGE_ENDINGS, VideoError, is_video

Kind = Literal["images", "recording", "camera"]
DEFAULT_RATE = 25.0  # frames a second where nothing tells


@dataclass(frozen=True)
class Input:
    """One thing to read; its results go to files called ``name``."""

    name: str
    kind: Kind
    paths: tuple[Path, ...]  # of images: each of them; else the one
    camera: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of an input. ``source`` names the file."""

    source: str
    number: int  # from 1
    time_s: float
    image: Image


def find_inputs(given: Sequence[str], *, is_recording: bool = False) -> tuple[Input, ...]:
    """Return what was named, in its order.

    Args:
        given: Images, videos, folders, or ``camera:0``.
        is_recording: A folder of numbered images is one recording, not many images.

    Raises:
        VideoError: Something is not there, or is nothing that can be read.
    """
    found: list[Input] = []
    images: list[Path] = []
    for text in given:
        kind, _, number = text.partition(":")
        path = Path(text)
        if kind == "camera" and number.isdigit():
            found.append(Input(f"camera-{number}", "camera", (), int(number)))
        elif path.is_dir() and is_recording:
            found.append(Input(path.resolve().name, "recording", (path,)))
        elif path.is_dir():
            inside = sorted(path.rglob("*"))
            images += [p for p in inside if _is_image(p)]
            found += [Input(p.stem, "recording", (p,)) for p in inside if is_video(p)]
        elif path.is_file() and is_video(path):
            found.append(Input(path.stem, "recording", (path,)))
        elif path.is_file() and _is_image(path):
            images.append(path)
        else:
            raise VideoError(
                f"{text}: expected an image, a video, a folder that holds some, or camera:0"
            )
    if images:
        found.append(Input("images", "images", tuple(images)))
    if not found:
        raise VideoError(f"{', '.join(given)}: no image and no video in there")
    names = [i.name for i in found]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise VideoError(f"two inputs are called {twice[0]}: read them into different folders")
    return tuple(found)


def num_frames(given: Input) -> int | None:
    """Return how many frames there are, if that can be told."""
    if given.kind == "camera":
        return None
    return len(given.paths) if given.kind == "images" else video.num_frames(given.paths[0]) or None


def read(given: Input, skip: int = 0) -> Iterator[Frame | VideoError]:
    """Yield frames one by one; a damaged image comes as its error, and the rest goes on.

    Args:
        given: What to read.
        skip: Frames at the start that are done already.

    Raises:
        VideoError: A recording is damaged or cut off: the frames before were yielded.
    """
    if given.kind == "images":
        for number, path in enumerate(given.paths[skip:], start=skip + 1):
            try:
                yield Frame(path.name, number, 0.0, video.read_image(path))
            except VideoError as e:
                yield e
    elif given.kind == "camera":
        yield from _camera(given.camera)
    else:
        path = given.paths[0]
        rate = frame_rate(path)
        try:
            for count, (number, image) in enumerate(video.frames(path), start=1):
                if count > skip:
                    yield Frame(path.name, number, (number - 1) / rate, image)
        except cv2.error as e:
            raise VideoError(f"{path.name}: damaged: {e.err or e.code}") from e


def frame_rate(path: Path) -> float:
    """Return the frames a second of a video; ``DEFAULT_RATE`` of a folder."""
    if path.is_dir():
        return DEFAULT_RATE
    capture = cv2.VideoCapture(str(path))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if 1 <= rate <= 1000 else DEFAULT_RATE


def _camera(number: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise VideoError(f"camera:{number}: there is no such camera, or another program has it")
    start = time.monotonic()
    try:
        count = 0
        while True:
            is_there, bgr = capture.read()
            if not is_there:
                raise VideoError(f"camera:{number}: gave no more pictures after frame {count}")
            count += 1
            image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(f"camera:{number}", count, time.monotonic() - start, image)
    finally:
        capture.release()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
