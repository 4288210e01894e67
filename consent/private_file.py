"""Files that only their owner can read: written whole or not at all, and seen on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consent.errors import KeyFileError


def write_new(path: Path, data: bytes) -> None:
    """Write a new file.

    Raises:
        KeyFileError: The file exists.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as e:
        raise KeyFileError(f"{path} exists: a key is never overwritten") from e
    with os.fdopen(handle, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Replace a file in one step, then overwrite what was in the old one.

    A disk that moves blocks around may still keep old bytes: that cannot be helped from here.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    write_new(draft, data)
    with path.open("r+b") as old:
        draft.replace(path)
        sync_folder(path.parent)
        old.write(bytes(os.fstat(old.fileno()).st_size))
        old.flush()
        os.fsync(old.fileno())


def read(path: Path) -> bytes:
    """Read a file that ``write_new`` or ``replace`` wrote.

    Raises:
        KeyFileError: It is missing, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as e:
        raise KeyFileError(f"{path}: cannot be read ({e.strerror})") from e
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path} can be read by others; run: chmod 600 {path}")
    return data


def sync_folder(folder: Path) -> None:
    """See a new or renamed file on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
