"""Reads pictures that are sent in: what the page and gRPC have in common.

Nothing of a picture is kept, written or logged. While a stream is open, its tracker holds where
faces were and one small grey picture of the last frame; they go with the stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import cv2
import numpy as np

from core_model.data.face import Image
from core_model.data.picture import PictureError, PictureTooLargeError, check_size, decode
from core_model.serve.turns import Turns
from core_model.use.hide import SIDE, Hider, hide_faces
from core_model.use.inputs import Input
from core_model.use.permit import Permit
from core_model.use.reader import FrameReader, Reading
from core_model.use.session import Session

MAX_PICTURE_BYTES = 4_000_000  # compressed; gRPC takes 4 MiB
MAX_PICTURE_PIXELS = 8_400_000  # 3840 x 2160 and a little
MAX_STREAMS = 8
IDLE_S = 60.0  # a stream that sends nothing for so long has ended
HIDDEN_QUALITY = 85  # of JPEG
Clock = Callable[[], datetime]


class ServeRefusedError(Exception):
    """A request that is not answered. Only ``code`` goes out."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, eq=False)
class Answer:
    """What was read in one picture."""

    width: int  # pixels
    height: int
    readings: tuple[Reading, ...]
    hidden: bytes | None  # the picture with faces hidden, JPEG; None: not asked for
    took_ms: float


@dataclass
class _Stream:
    reader: FrameReader
    number: int = 0
    seen_s: float = 0.0


class Studio:
    """A model, ready for pictures from outside. For many threads; reads one picture at a time.

    Args:
        session: The model.
        permit: Of the declared use.
        permit_signer: Who signed it; None: it is the user's own word.
        hiders: Ways to hide faces, by name.
        clock: Tells the time; a permit runs out.
        hidden_side: Pixels of a cut-out that is hidden.
    """

    def __init__(
        self,
        session: Session,
        permit: Permit,
        permit_signer: str | None,
        hiders: Mapping[str, Hider],
        clock: Clock,
        hidden_side: int = SIDE,
    ) -> None:
        self.card, self.hiders = session.model.card, hiders
        self._session, self._permit, self._clock = session, permit, clock
        # Who comes in between two detections would be shown: when hiding, every frame is searched.
        careful = session.choices.model_copy(update={"every": 1, "detect_side": 640})
        self._careful = replace(session, choices=careful)
        self._hidden_side = hidden_side
        self._about = session.about(permit, permit_signer)
        self._turns = Turns()
        self._streams: dict[tuple[str, bool], _Stream] = {}  # that sent last, last
        self._streams_lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Return what answers depend on: model, permit, settings."""
        return self._about

    def read(self, content: bytes, *, stream: str | None, way: str | None) -> Answer:
        """Read one picture.

        Args:
            content: An image file.
            stream: Name of the camera or recording that it belongs to; None: it stands alone.
            way: How to hide faces in the picture that goes back; None: none goes back.

        Raises:
            ServeRefusedError: The permit ran out, or this is not a picture that can be read.
            BusyError: Too many wait.
            PassedOverError: A newer frame of the stream came first.
        """
        # (1) is the use still permitted?
        if self._clock() >= self._permit.valid_until:
            raise ServeRefusedError("permit_ran_out")
        # (2) is it asked for as it can be?
        if way is not None and way not in self.hiders:
            raise ServeRefusedError("unknown_way")
        # (3) small, before anything is decoded
        if len(content) > MAX_PICTURE_BYTES:
            raise ServeRefusedError("too_large")
        try:
            check_size(content, MAX_PICTURE_PIXELS)
        except PictureTooLargeError as e:
            raise ServeRefusedError("too_large") from e
        except PictureError as e:
            raise ServeRefusedError("no_picture") from e
        # (4) one at a time, the newest of each stream
        with self._turns.turn(stream or f"alone-{id(content)}"):
            begin = time.perf_counter()
            try:
                image = decode(content, MAX_PICTURE_PIXELS)
            except PictureError as e:
                raise ServeRefusedError("no_picture") from e
            readings = self._read(image, stream, is_hidden=way is not None)
            hidden = None if way is None else self._hide(image, readings, way)
            took_ms = 1e3 * (time.perf_counter() - begin)
            return Answer(image.shape[1], image.shape[0], readings, hidden, took_ms)

    def end(self, stream: str) -> None:
        """Forget a stream."""
        with self._streams_lock:
            for is_hidden in (False, True):
                self._streams.pop((stream, is_hidden), None)

    def _read(self, image: Image, stream: str | None, *, is_hidden: bool) -> tuple[Reading, ...]:
        session = self._careful if is_hidden else self._session
        if stream is None:
            return tuple(session.reader(Input("", "images", ())).read(1, 0.0, image))
        with self._streams_lock:
            found = self._stream((stream, is_hidden), session)
        return tuple(found.reader.read(found.number, 0.0, image))

    def _stream(self, name: tuple[str, bool], session: Session) -> _Stream:
        now = time.monotonic()
        for idle in [n for n, s in self._streams.items() if s.seen_s < now - IDLE_S]:
            del self._streams[idle]
        found = self._streams.pop(name, None)
        if found is None:
            found = _Stream(session.reader(Input("", "camera", ())))
        while len(self._streams) >= MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
        self._streams[name] = found
        found.number, found.seen_s = found.number + 1, now
        return found

    def _hide(self, image: Image, readings: tuple[Reading, ...], way: str) -> bytes:
        hidden = hide_faces(image, readings, self.hiders[way], self._hidden_side)
        bgr = cv2.cvtColor(hidden, cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, HIDDEN_QUALITY]
        return np.asarray(cv2.imencode(".jpg", bgr, quality)[1], np.uint8).tobytes()
