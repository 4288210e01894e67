"""The size of an image is told by its header; what would unfold to gigabytes is never decoded."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.data import picture
from core_model.data.picture import (
    PictureError,
    PictureTooLargeError,
    check_size,
    decode,
    num_pixels,
    read_picture,
)
from core_model.data.video import VideoError, read_image

ENDINGS = [".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".pgm"]


def image_of(width, height):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_the_header_says_what_the_decoder_finds(ending, width, height) -> None:
    image = image_of(width, height)
    image = image[..., 0] if ending == ".pgm" else image
    raw = cv2.imencode(ending, image)[1].tobytes()
    assert num_pixels(raw) == width * height
    assert decode(raw).shape == (height, width, 3)


OTHERS = {
    "a lossless WebP": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "a progressive JPEG": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "a JPEG with restarts": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
    "a plain PNM": (".ppm", [cv2.IMWRITE_PXM_BINARY, 0]),
}


@pytest.mark.parametrize(("ending", "options"), OTHERS.values(), ids=OTHERS.keys())
def test_other_kinds_of_the_same_formats(ending, options) -> None:
    raw = cv2.imencode(ending, image_of(61, 47), options)[1].tobytes()
    assert num_pixels(raw) == 61 * 47
    assert decode(raw).shape == (47, 61, 3)


def png(width, height) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def resized(ending, at, form, *numbers) -> bytes:
    raw = bytearray(cv2.imencode(ending, image_of(40, 30))[1].tobytes())
    struct.pack_into(form, raw, at if at >= 0 else raw.index(b"\xff\xc0") - at, *numbers)
    return bytes(raw)


def tiff(**tags) -> bytes:
    numbers = {"width": 256, "height": 257, "rows": 278, "tile_width": 322, "tile_height": 323}
    entries = [struct.pack("<HHII", numbers[k], 4, 1, v) for k, v in tags.items()]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)


BOMBS = {
    "PNG": png(30_000, 30_000),
    "JPEG": resized(".jpg", -5, ">HH", 60_000, 60_000),
    "BMP": resized(".bmp", 18, "<ii", 30_000, 30_000),
    "BMP upside down": resized(".bmp", 18, "<ii", 30_000, -30_000),
    "PNM": b"P6 # a comment\n90000\n90000 255\n" + bytes(100),
    "TIFF": tiff(width=40_000, height=40_000),
    "TIFF of one huge tile": tiff(width=10, height=10, tile_width=40_000, tile_height=40_000),
    "TIFF of one long strip": tiff(width=1000, height=10, rows=2_000_000),
    "WebP": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\0" * 2,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_and_the_decoder_never_sees_it(raw, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(PictureTooLargeError, match="more than 64,000,000 pixels"):
        decode(raw)


UNREADABLE = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "another format (GIF)": b"GIF89a" + bytes(100),
    "another format (JPEG 2000)": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "another format (OpenEXR)": b"v/1\x01" + bytes(100),
    "a PNG cut off in its header": png(8, 8)[:20],
    "a JPEG that ends before its size": b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9",
    "a JPEG with pixels before its size": b"\xff\xd8\xff\xda\0\x04ab" + bytes(50),
    "a JPEG of markers without end": b"\xff\xd8" + b"\xff" * 5000,
    "a TIFF that points beyond its end": b"II*\0\xff\xff\xff\x7f",
    "an image without pixels": png(0, 10),
    "pixels that are not there": resized(".jpg", -5, ">HH", 0, 40),
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_told_is_not_decoded(raw, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(PictureError, match="not an image that can be read"):
        decode(raw)


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from([*BOMBS.values(), *UNREADABLE.values()]), raw=st.binary(max_size=200),
       at=st.integers(0, 60))  # fmt: skip
def test_any_bytes_are_told_or_refused_without_much_memory(start, raw, at) -> None:
    tracemalloc.start()
    try:
        check_size(start[:at] + raw)
    except PictureError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(8, 8))
    monkeypatch.setattr(picture, "MAX_FILE_BYTES", 10)
    with pytest.raises(PictureTooLargeError, match="larger than 10 bytes"):
        read_picture(path)


def test_the_file_is_named_whatever_is_wrong_with_it(tmp_path) -> None:
    (tmp_path / "bomb.png").write_bytes(BOMBS["PNG"])
    for name in ("bomb.png", "none.png"):
        with pytest.raises(VideoError, match=name):
            read_image(tmp_path / name)
