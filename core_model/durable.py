"""Files that are there whole after a power loss, or not at all. Knows no formats."""

from __future__ import annotations

import os
from pathlib import Path


def put_in_place(draft: Path, path: Path) -> None:
    """Give a finished draft its name. Returns when both are on the disk.

    A rename alone can outlive a power loss before the bytes that it names do.

    Raises:
        OSError: The disk is full, or the draft is not there.
    """
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
