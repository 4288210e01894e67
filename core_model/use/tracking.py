"""Follow faces through a video: detect every few frames, follow five points between.

Following costs a tenth of detecting, and is steadier: the detector's points jump by several pixels
from frame to frame, followed ones by a tenth of a pixel. So a new detection only corrects what was
followed. A face whose points are lost is looked for again at once.
People are numbered from 1 in the order in which they are seen; a number means nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core_model.data.face import Face, FaceDetector, Floats, Image

FLOW_SIDE = 320  # pixels of the long side on which points are followed
MIN_OVERLAP = 0.3  # of two boxes of one person (intersection over union)
PATIENCE = 3  # detections without a face before its number is given up
MAX_RETURN = 1.0  # pixels by which a point may miss its start when followed forth and back
MIN_POINTS = 4  # of five that must hold
CORRECTION = 0.3  # how much a detection counts against what was followed
MAX_ZOOM = 1.2  # a face does not grow faster than this from frame to frame


@dataclass(frozen=True, eq=False)
class Track:
    """One person and where their face is."""

    person: int
    face: Face
    missed: int = 0  # detections in a row that did not find it; shown only while 0


class FaceTracker:
    """Finds and follows faces in the frames of one video, in their order.

    Args:
        detector: What finds faces.
        every: Detect in one frame of so many.
        detect_side: Pixels of the long side on which faces are looked for.
    """

    def __init__(self, detector: FaceDetector, every: int = 5, detect_side: int = 320) -> None:
        if every < 1 or detect_side < 64:
            raise ValueError(
                f"expected every >= 1 and detect_side >= 64, got {every}, {detect_side}"
            )
        self._detector, self._every, self._side = detector, every, detect_side
        self._tracks: tuple[Track, ...] = ()
        self._before: Image | None = None  # small grey picture of the last frame
        self._age = 0  # frames since the last detection
        self._people = 0

    def step(self, image: Image) -> tuple[Track, ...]:
        """Return the faces of the next frame, the largest first. Shape: (H, W, 3), RGB."""
        grey, zoom = _small_grey(image)
        followed: tuple[Track, ...] | None = None
        if self._before is not None and self._before.shape == grey.shape:
            followed = follow(self._tracks, self._before, grey, zoom)
        if followed is None or self._age + 1 >= self._every:
            found = find(self._detector, image, self._side)
            self._tracks, self._people = match(
                self._tracks if followed is None else followed,
                found,
                self._people,
                correction=1.0 if followed is None else CORRECTION,
            )
            self._age = 0
        else:
            self._tracks = followed
            self._age += 1
        self._before = grey
        return tuple(t for t in self._tracks if t.missed == 0)

    def prime(self, image: Image) -> None:
        """Show the last frame before an interruption again, so that following can go on from it."""
        self._before, _ = _small_grey(image)

    def state(self) -> dict[str, Any]:
        """Return what goes on after an interruption, as plain values."""
        tracks = [
            {"person": t.person, "box": t.face.box.tolist(), "points": t.face.points.tolist(),
             "score": t.face.score, "missed": t.missed}
            for t in self._tracks
        ]  # fmt: skip
        return {"people": self._people, "age": self._age, "tracks": tracks}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; see ``prime``, or the next frame is looked at afresh."""
        self._people, self._age, self._before = int(state["people"]), int(state["age"]), None
        self._tracks = tuple(
            Track(
                int(t["person"]),
                Face(np.array(t["box"], np.float32), np.array(t["points"], np.float32), t["score"]),
                int(t["missed"]),
            )
            for t in state["tracks"]
        )


def find(detector: FaceDetector, image: Image, side: int) -> tuple[Face, ...]:
    """Return the faces found when the long side is at most ``side`` pixels."""
    zoom = side / max(image.shape[:2])
    if zoom >= 1:
        return detector.detect(image)
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    # By area in whole steps, then smoothly: shrinking by area to any size is slow in OpenCV.
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    scale = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
    return tuple(
        Face(f.box * np.tile(scale, 2), f.points * scale, f.score) for f in detector.detect(small)
    )


def match(
    tracks: Sequence[Track], faces: Sequence[Face], people: int, *, correction: float = 1.0
) -> tuple[tuple[Track, ...], int]:
    """Give faces to people by overlap, the best first; return tracks and people seen so far.

    ``correction`` is how much a face counts against the track that it is given to.
    """
    pairs = sorted(
        ((overlap(t.face.box, f.box), i, j) for i, t in enumerate(tracks)
         for j, f in enumerate(faces)),
        key=lambda pair: -pair[0],
    )  # fmt: skip
    owner: dict[int, int] = {}
    for value, i, j in pairs:
        if value >= MIN_OVERLAP and j not in owner and i not in owner.values():
            owner[j] = i
    found = []
    for j, face in enumerate(faces):
        if j in owner:
            track = tracks[owner[j]]
            found.append(Track(track.person, _corrected(track, face, correction)))
        else:
            people += 1
            found.append(Track(people, face))
    gone = [
        replace(t, missed=t.missed + 1) for i, t in enumerate(tracks) if i not in owner.values()
    ]
    return (*found, *(t for t in gone if t.missed < PATIENCE)), people


def follow(
    tracks: Sequence[Track], before: Image, after: Image, zoom: float
) -> tuple[Track, ...] | None:
    """Move each face with its points, or return None if one was lost.

    Args:
        tracks: Where faces were in the frame before.
        before: Small grey picture of that frame.
        after: That of the frame now.
        zoom: Of the small pictures.
    """
    shown = [t for t in tracks if t.missed == 0]
    if not shown:
        return tuple(tracks)
    old = np.concatenate([t.face.points for t in shown]) * np.float32(zoom)
    new, there = _flow(before, after, old)
    back, home = _flow(after, before, new)
    missed = np.linalg.norm(back - old, axis=1)
    held = there & home & (missed < MAX_RETURN)
    moved = []
    for k, track in enumerate(shown):
        mine = slice(5 * k, 5 * k + 5)
        face = _moved(track.face, old[mine] / zoom, new[mine] / zoom, held[mine])
        if face is None:
            return None
        moved.append(replace(track, face=face))
    return (*moved, *(t for t in tracks if t.missed))


def _flow(before: Image, after: Image, points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where points went (Lucas and Kanade), and which were found. Shapes: (P, 2), (P,)."""
    start = points.copy()  # OpenCV's types want a first guess; without a flag it is not used
    new, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, start, winSize=(15, 15), maxLevel=2
    )
    return np.asarray(new, np.float32), np.asarray(found)[:, 0] > 0


def overlap(a: Floats, b: Floats) -> float:
    """Return intersection over union of two boxes (left, top, width, height)."""
    low = np.maximum(a[:2], b[:2])
    high = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / max(float(np.prod(a[2:]) + np.prod(b[2:])) - shared, 1e-9)


def _corrected(track: Track, face: Face, correction: float) -> Face:
    """Return a face between where it was followed to and where it was detected."""
    if track.missed:
        return face
    box = track.face.box + correction * (face.box - track.face.box)
    points = track.face.points + correction * (face.points - track.face.points)
    return Face(box.astype(np.float32), points.astype(np.float32), face.score)


def _moved(face: Face, old: Floats, new: Floats, held: NDArray[np.bool_]) -> Face | None:
    """Turn, zoom and shift a face as its points moved; None if they did not hold together."""
    if held.sum() < MIN_POINTS:
        return None
    source, target = old[held].astype(np.float64), new[held].astype(np.float64)
    a = (source - source.mean(0)) @ np.array([1, 1j])
    b = (target - target.mean(0)) @ np.array([1, 1j])
    factor = np.vdot(a, b) / max(float(np.vdot(a, a).real), 1e-9)  # a turn and a zoom
    zoom = abs(factor)
    if not 1 / MAX_ZOOM < zoom < MAX_ZOOM:
        return None
    middle = face.box[:2] + face.box[2:] / 2
    shift = target.mean(0) - source.mean(0)
    size = face.box[2:] * zoom
    box = np.concatenate([middle + shift - size / 2, size]).astype(np.float32)
    return Face(box, new.astype(np.float32), face.score)


def _small_grey(image: Image) -> tuple[Image, float]:
    zoom = min(1.0, FLOW_SIDE / max(image.shape[:2]))
    small = image
    if zoom < 1:
        small = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom), np.uint8)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), zoom
