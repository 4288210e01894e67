"""The last tree head that a log signed, kept outside its database: a restored backup is noticed.

Written after the commit, without a sync: a crash can leave the mark too low, never too high, and a
low mark still bounds the log from below.
"""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from consent.errors import LogRolledBackError

_LINE = re.compile(rb"([0-9]{20}) ([0-9a-f]{64})\n")


@dataclass(frozen=True)
class Mark:
    """Size and root of a tree head."""

    size: int
    root: bytes


@dataclass(frozen=True)
class HighWater:
    """A file of one line, overwritten in place, as one disk sector is written whole."""

    path: Path

    def create(self, mark: Mark) -> None:
        """Write the first mark.

        Raises:
            FileExistsError: There is a mark already: it is never lowered.
        """
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as f:
            f.write(_line(mark))
            f.flush()
            os.fsync(f.fileno())

    def read(self) -> Mark:
        """Return the mark.

        Raises:
            LogRolledBackError: It is missing or damaged.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            match = None
        else:
            match = _LINE.fullmatch(_read(handle))
            os.close(handle)
        if match is None:
            raise LogRolledBackError(
                f"the high-water mark {self.path} is missing or damaged, so a restored backup "
                "would not be noticed; compare the log with a witness, then run: omote-consent log "
                "trust-size --help"
            )
        return Mark(int(match[1]), bytes.fromhex(match[2].decode()))

    def raise_to(self, mark: Mark) -> None:
        """Write a higher mark; a lower one changes nothing."""
        handle = os.open(self.path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # two appenders may come here in either order
            match = _LINE.fullmatch(_read(handle))
            if match is None or int(match[1]) < mark.size:
                os.pwrite(handle, _line(mark), 0)
        finally:
            os.close(handle)


def _read(handle: int) -> bytes:
    return os.pread(handle, 200, 0)  # more than a line: what is longer is no mark


def _line(mark: Mark) -> bytes:
    return f"{mark.size:020d} {mark.root.hex()}\n".encode()
