"""How large is an image? Told by its header, before a decoder is let loose on it.

A file of a few hundred bytes can unfold to gigabytes. OpenCV looks at the content, not at the name,
and knows many formats; only those whose header is read here are decoded.

Shapes: H, W = height and width of an image. Images are RGB bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
MAX_PIXELS = 64_000_000  # of one image
MAX_FILE_BYTES = 400_000_000  # what so many pixels take at most, uncompressed
_ALL_ROWS = 0xFFFF_FFFF  # of TIFF: one strip holds the whole image


class PictureError(Exception):
    """Not an image that can be read."""


class PictureTooLargeError(PictureError):
    """It would take too much memory."""


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image file. Shape: (H, W, 3).

    Raises:
        PictureError: It is not an image, is damaged or is too large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PictureTooLargeError(f"larger than {MAX_FILE_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as e:
        raise PictureError(f"not an image that can be read ({e.strerror})") from e
    return decode(content, max_pixels)


def decode(content: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Return the image of these bytes. Shape: (H, W, 3).

    Raises:
        PictureError: It is not an image, is damaged or is too large.
    """
    check_size(content, max_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # a damaged size that OpenCV refuses
        image = None
    if image is None:
        raise PictureError("not an image that can be read")
    return np.asarray(image, np.uint8)


def check_size(content: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Check that decoding takes no more than so many pixels, without decoding.

    Raises:
        PictureError: It would, or its header cannot be read.
    """
    pixels = num_pixels(content)
    if pixels is None or pixels <= 0:
        raise PictureError("not an image that can be read")
    if pixels > max_pixels:
        raise PictureTooLargeError(f"more than {max_pixels:,} pixels")


def num_pixels(content: bytes) -> int | None:
    """Return how many pixels a decoder would make room for; None: not a format known here."""
    for start, read in _FORMATS:
        if start.match(content):
            try:
                return read(content)
            except (struct.error, IndexError, ValueError):
                return None  # cut off within its header
    return None


def _png(content: bytes) -> int:
    width, height = struct.unpack_from(">II", content, 16)
    return int(width * height)


def _jpeg(content: bytes) -> int:
    """Find the start of frame (ITU-T T.81, B.2.2), as libjpeg goes from marker to marker."""
    at = 2
    while True:
        at = content.index(0xFF, at)
        while content[at] == 0xFF:
            at += 1
        marker, at = content[at], at + 1
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # nothing follows these
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("pixels begin, or all ends, before a size was told")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 3)
            return int(width * height)
        at += int(struct.unpack_from(">H", content, at)[0])


def _bmp(content: bytes) -> int:
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    return abs(width) * abs(height)


def _webp(content: bytes) -> int:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[k : k + 3], "little") + 1 for k in (24, 27))
        if len(content) < 30:
            raise ValueError("cut off")
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", content, 26))
    else:
        raise ValueError("unknown kind")
    return width * height


def _pnm(content: bytes) -> int:
    found = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s", content)
    if found is None:
        raise ValueError("no size")
    return int(found[1]) * int(found[2])


def _tiff(content: bytes) -> int:
    """Read the first directory; a tile or a strip may be larger than the image (TIFF 6.0)."""
    order = "<" if content[:2] == b"II" else ">"
    if content[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        (at,) = struct.unpack_from(f"{order}Q", content, 8)
        (count,) = struct.unpack_from(f"{order}Q", content, at)
        first, step, value = at + 8, 20, 12
    else:
        (at,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, at)
        first, step, value = at + 2, 12, 8
    tags: dict[int, int] = {}
    for k in range(min(count, 1000)):
        entry = first + k * step
        tag, kind = struct.unpack_from(f"{order}HH", content, entry)
        (number,) = struct.unpack_from(
            f"{order}{'H' if kind == 3 else 'I'}", content, entry + value
        )
        tags[tag] = max(number, tags.get(tag, 0))
    width, height = tags.get(256, 0), tags.get(257, 0)
    rows = tags.get(278, _ALL_ROWS)
    strip = height if rows == _ALL_ROWS else rows
    return max(width * height, width * strip, tags.get(322, 0) * tags.get(323, 0))


_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], int]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n....IHDR", re.DOTALL), _png),
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"P[1-6][\s#]"), _pnm),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
)
