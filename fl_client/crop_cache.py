"""Face crops of a site's people: encrypted at rest, one file a recording, one key a person.

Files lie beside the list of recordings; keys lie in the site's key folder, apart from them. Purging
a person destroys the key and the files, so a backup of the files opens nothing. Keep no backup of
the keys beside backups of the files.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from consent import private_file
from core_model.data.face import RECIPES
from core_model.data.frames import PngFolders
from core_model.data.recordings import Recording
from fl_client.crop_shard import ENDING, Shard, read_header
from fl_client.errors import CropCacheError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CropKeys:
    """A key for each person, in files that only their owner can read. Names tell no subject id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, subject_id: str) -> bytes:
        """Return a person's key.

        Raises:
            CropCacheError: There is none: the person was purged, or never ingested.
            KeyFileError: Others can read it.
        """
        path = self._path(subject_id)
        if not path.exists():
            raise CropCacheError("the key of a recording is gone: its person was purged")
        return private_file.read(path)

    def make(self, subject_id: str) -> bytes:
        """Return a person's key, a new one if there is none."""
        path = self._path(subject_id)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            private_file.write_new(path, AESGCM.generate_key(256))
        return private_file.read(path)

    def destroy(self, subject_id: str) -> bool:
        """Overwrite and delete a person's key. False: there was none."""
        path = self._path(subject_id)
        if not path.exists():
            return False
        with path.open("r+b") as f:
            f.write(bytes(os.fstat(f.fileno()).st_size))
            f.flush()
            os.fsync(f.fileno())
        path.unlink()
        private_file.sync_folder(path.parent)
        return True

    def _path(self, subject_id: str) -> Path:
        name = hashlib.sha256(b"omote/crop-key/v1\0" + subject_id.encode()).hexdigest()
        return self._folder / f"{name[:32]}.key"


class SiteFrames:
    """Reads the frames of a site's recordings, from the cache or from folders of PNG.

    Fulfils ``core_model.data.frames.FrameSource``.
    """

    def __init__(self, keys: CropKeys) -> None:
        self._keys = keys
        self._folders = PngFolders()

    def numbers(self, recording: Recording) -> list[int]:
        """Return the numbers of all frames that there are, in rising order.

        Raises:
            CropCacheError: The cache cannot be used for this recording.
        """
        if not is_cached(recording.frames):
            return self._folders.numbers(recording)
        with self.shard(recording) as shard:
            return shard.numbers

    def read(self, recording: Recording, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield frames by number, in the order asked for. Shape: (H, W, 3), RGB.

        Raises:
            CropCacheError: The cache cannot be used for this recording, or lacks a frame.
            ValueError: An image of a folder cannot be read.
        """
        if not is_cached(recording.frames):
            yield from self._folders.read(recording, numbers)
            return
        with self.shard(recording) as shard:
            yield from shard.read(numbers)

    @contextmanager
    def shard(self, recording: Recording) -> Iterator[Shard]:
        """Yield the opened file of a recording.

        Raises:
            CropCacheError: It is damaged, its key is gone, or it was cut in another way.
        """
        check_recipe(recording.frames)
        shard = Shard(recording.frames, self._keys.key(recording.subject_id))
        try:
            yield shard
        finally:
            shard.close()


def is_cached(frames: Path) -> bool:
    """Is this a file of the cache, not a folder of PNG?"""
    return frames.suffix == ENDING


def asset_of(frames: Path) -> bytes:
    """Return the digest of the recording that a file of the cache was made of."""
    return bytes.fromhex(read_header(frames).asset)


def check_recipe(frames: Path) -> None:
    """Check that a file was cut as this version cuts.

    Raises:
        CropCacheError: It was not: a model would see other faces than it learns from.
    """
    label = read_header(frames).recipe
    name, version, _ = label.split(".")
    known = RECIPES.get(name)
    if known is None or version != f"v{known.version}":
        has = ", ".join(f"{r.name}.v{r.version}" for r in RECIPES.values())
        raise CropCacheError(
            f"{frames.name} was cut by recipe {label}, this version has {has}; ingest again"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from filling the same cache.

    Raises:
        CropCacheError: One is at work.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "ingest.lock").open("a") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise CropCacheError(
                f"another omote-site ingest is at work in {folder}; wait until it is done"
            ) from e
        yield  # until the file is closed


@contextmanager
def room_told(folder: Path) -> Iterator[None]:
    """Turn a full disk into an error that says so.

    Raises:
        CropCacheError: The disk is full.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in FULL:
            raise
        raise CropCacheError(
            f"no room left in {folder}; nothing half written is kept: make room and run again, it "
            "goes on where it stopped"
        ) from e
