r"""One recording's face crops in one encrypted file: its form, a writer, a reader. No folders.

::

    omote-crops-1\n
    header      length (4 bytes), JSON: asset, recipe, size of a crop, crops in a chunk
    chunk 0..   nonce (12 bytes), AES-256-GCM of up to 32 crops, raw
    index       nonce, AES-256-GCM of frame numbers and where each face was
    offset of the index (8 bytes)

Every part is bound to the header and to its place: parts cannot be swapped between recordings,
moved, or cut off. Crops are kept raw: a crop is read as fast as it is decrypted, and no pixel
differs from what was cut. Numbers are little-endian.

Shapes: N = frames, S = side of a crop.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core_model.data.face import Face
from fl_client.errors import CropCacheError

Image = NDArray[np.uint8]

MAGIC = b"omote-crops-1\n"
ENDING = ".crops"
PER_CHUNK = 32
NONCE_BYTES, TAG_BYTES = 12, 16
MAX_HEADER_BYTES = 4096
FACTS = 17  # of a face: box 4, points 10, score, width and height of the image


class Header(BaseModel):
    """What a file says of itself to everyone. It names no person."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    v: int = Field(1, ge=1, le=1)
    asset: str = Field(pattern="^[0-9a-f]{64}$")  # digest of the recording
    recipe: str = Field(pattern=r"^[a-z0-9_]{1,32}\.v[0-9]{1,4}\.[0-9]{1,4}$")
    size: int = Field(gt=0, le=2048)  # side of a crop in pixels
    per_chunk: int = Field(PER_CHUNK, gt=0, le=1024)

    @property
    def crop_bytes(self) -> int:
        """Of one crop."""
        return 3 * self.size**2

    def packed(self) -> bytes:
        """Return the first bytes of the file."""
        text = self.model_dump_json().encode()
        return MAGIC + struct.pack("<I", len(text)) + text


class ShardWriter:
    """Writes a new file, to be renamed when it is whole. Holds one chunk in memory.

    Raises:
        OSError: The disk is full, or the file is there already.
    """

    def __init__(self, path: Path, header: Header, key: bytes) -> None:
        self._header, self._cipher = header, AESGCM(key)
        self._bound = _bound(header)
        self._file: BinaryIO = os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        )
        self._file.write(header.packed())
        self._pending: list[bytes] = []
        self._num_chunks = 0
        self._numbers: list[int] = []
        self._facts: list[NDArray[np.float32]] = []

    def add(self, number: int, crop: Image, face: Face, image_size: tuple[int, int]) -> None:
        """Add the next frame: number, crop, where the face was, width and height of the image."""
        side = self._header.size
        assert crop.shape == (side, side, 3)
        assert not self._numbers or number > self._numbers[-1]
        self._numbers.append(number)
        self._facts.append(
            np.array([*face.box, *face.points.ravel(), face.score, *image_size], np.float32)
        )
        self._pending.append(np.ascontiguousarray(crop).tobytes())
        if len(self._pending) == self._header.per_chunk:
            self._end_chunk()

    def finish(self) -> None:
        """Write the rest and see it on the disk."""
        if self._pending:
            self._end_chunk()
        offset = self._file.tell()
        index = np.asarray(self._numbers, "<i8").tobytes()
        index += np.asarray(self._facts, "<f4").reshape(-1, FACTS).tobytes()
        self._write(index, _place(self._bound, b"index", self._num_chunks))
        self._file.write(struct.pack("<Q", offset))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Close the file, whole or not."""
        with contextlib.suppress(OSError):  # what could not be written is thrown away anyway
            self._file.close()

    def _end_chunk(self) -> None:
        self._write(b"".join(self._pending), _place(self._bound, b"chunk", self._num_chunks))
        self._pending = []
        self._num_chunks += 1

    def _write(self, text: bytes, bound: bytes) -> None:
        nonce = os.urandom(NONCE_BYTES)
        self._file.write(nonce + self._cipher.encrypt(nonce, text, bound))


class Shard:
    """A file opened for reading. Holds one chunk of crops in memory.

    Raises:
        CropCacheError: It is missing, damaged, or of another key.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._cipher = path, AESGCM(key)
        self.header = read_header(path)
        self._bound = _bound(self.header)
        with path.open("rb") as f:
            self._bytes = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = len(self.header.packed())
        end = len(self._bytes) - 8
        (offset,) = struct.unpack_from("<Q", self._bytes, max(0, end))
        if not self._start <= offset <= end - NONCE_BYTES - TAG_BYTES:
            raise self._damaged()
        # All chunks but the last are full: where the index lies tells how many there are.
        full = NONCE_BYTES + TAG_BYTES + self.header.per_chunk * self.header.crop_bytes
        self._num_chunks = -(-(offset - self._start) // full)
        index = self._open(offset, end, _place(self._bound, b"index", self._num_chunks))
        count = len(index) // (8 + 4 * FACTS)
        self.numbers: list[int] = np.frombuffer(index, "<i8", count).tolist()
        facts = np.frombuffer(index, "<f4", count * FACTS, 8 * count)
        self.facts: NDArray[np.float32] = facts.reshape(count, FACTS).astype(np.float32)
        self._rows = {number: row for row, number in enumerate(self.numbers)}
        self._chunk: tuple[int, Image] | None = None

    def read(self, numbers: Sequence[int]) -> Iterator[Image]:
        """Yield crops by frame number. Shape: (S, S, 3), RGB.

        Raises:
            CropCacheError: A frame is not there, or the file is damaged.
        """
        for number in numbers:
            row = self._rows.get(number)
            if row is None:
                raise CropCacheError(f"{self._path.name}: holds no frame {number}; ingest again")
            chunk, place = divmod(row, self.header.per_chunk)
            yield self._crops(chunk)[place]

    def close(self) -> None:
        """Let go of the file."""
        self._bytes.close()

    def _crops(self, chunk: int) -> Image:
        """Return the crops of a chunk. Shape: (n, S, S, 3)."""
        if self._chunk is None or self._chunk[0] != chunk:
            header = self.header
            full = NONCE_BYTES + TAG_BYTES + header.per_chunk * header.crop_bytes
            left = len(self.numbers) - chunk * header.per_chunk
            length = NONCE_BYTES + TAG_BYTES + min(header.per_chunk, left) * header.crop_bytes
            start = self._start + chunk * full
            text = self._open(start, start + length, _place(self._bound, b"chunk", chunk))
            pixels = np.frombuffer(text, np.uint8).reshape(-1, header.size, header.size, 3)
            self._chunk = (chunk, pixels)
        return self._chunk[1]

    def _open(self, start: int, end: int, bound: bytes) -> bytes:
        sealed = memoryview(self._bytes)[start:end]
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as e:
            raise self._damaged() from e
        finally:
            sealed.release()

    def _damaged(self) -> CropCacheError:
        return CropCacheError(
            f"{self._path.name}: damaged, or of another key; delete it and ingest again"
        )


def read_header(path: Path) -> Header:
    """Read what a file says of itself, without a key: not to be trusted until it is opened.

    Raises:
        CropCacheError: It is missing, or no such file.
    """
    try:
        with path.open("rb") as f:
            start = f.read(len(MAGIC) + 4)
            length = int.from_bytes(start[len(MAGIC) :], "little")
            text = f.read(length) if length <= MAX_HEADER_BYTES else b""
            is_long = path.stat().st_size >= len(start) + length + 8
        if not start.startswith(MAGIC) or not is_long:
            raise CropCacheError(f"{path.name}: not a file of face crops; ingest again")
        return Header.model_validate(json.loads(text))
    except OSError as e:
        raise CropCacheError(f"{path.name}: cannot be read ({e.strerror}); ingest again") from e
    except (ValueError, ValidationError) as e:
        raise CropCacheError(f"{path.name}: its header is damaged; ingest again") from e


def shard_bytes(size: int, num_frames: int) -> int:
    """Return about how many bytes a file of so many crops has."""
    return num_frames * (3 * size**2 + 8 + 4 * FACTS) + 1024


def _bound(header: Header) -> bytes:
    return hashlib.sha256(header.packed()).digest()


def _place(bound: bytes, part: bytes, number: int) -> bytes:
    return bound + part + struct.pack("<Q", number)
