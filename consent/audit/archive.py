"""A tar file with exactly one form for given contents, so that every byte of it can be checked.

POSIX ustar, names in order, no times, no owners. Written and read member by member: a bundle may be
larger than memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from consent.errors import BundleError

BLOCK = 512
MAX_MEMBER_BYTES = 64 << 20
_NAME = re.compile("[a-z0-9][a-z0-9./_-]{0,98}")
_END = bytes(2 * BLOCK)


class ArchiveWriter:
    """Writes members in the order of their names."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._last = ""

    def add(self, name: str, data: bytes) -> None:
        """Add one member."""
        assert _NAME.fullmatch(name), name
        assert self._last < name, f"{name} comes after {self._last}"
        assert len(data) <= MAX_MEMBER_BYTES, f"{name} is too large"
        self._last = name
        self._file.write(_header(name, len(data)) + data + bytes(-len(data) % BLOCK))

    def close(self) -> None:
        """Write the end."""
        self._file.write(_END)


def read_archive(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of each member.

    Raises:
        BundleError: A byte that is not contents differs from what ``ArchiveWriter`` writes. Names
            the member.
    """
    last = ""
    while True:
        header = file.read(BLOCK)
        if header == _END[:BLOCK]:
            break
        where = f"the tar header after {last or 'the beginning'}"
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        size = _size(header[124:135])
        if not _NAME.fullmatch(name) or size is None or header != _header(name, size):
            raise BundleError(f"{where} is damaged")
        if name <= last:
            raise BundleError(f"{name} stands after {last}: names must be in order")
        if size > MAX_MEMBER_BYTES:
            raise BundleError(f"{name}: expected at most {MAX_MEMBER_BYTES} bytes, got {size}")
        data, padding = file.read(size), file.read(-size % BLOCK)
        if len(data) != size or padding != bytes(-size % BLOCK):
            raise BundleError(f"{name}: cut short, or its padding is damaged")
        yield name, data
        last = name
    if file.read() != _END[BLOCK:]:
        raise BundleError("expected the end of the bundle")


def _size(octal: bytes) -> int | None:
    return int(octal, 8) if re.fullmatch(b"[0-7]{11}", octal) else None


def _header(name: str, size: int) -> bytes:
    """Return the header of a plain file, mode 444."""
    fields = [
        name.encode().ljust(100, b"\0"),
        b"0000444\0" + b"0000000\0" * 2,  # mode, owner, group
        b"%011o\0" % size,
        b"%011o\0" % 0,  # time
        b" " * 8,  # checksum, counted as spaces
        b"0".ljust(101, b"\0"),  # a file, linked to nothing
        b"ustar\x0000",
    ]
    header = b"".join(fields).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
