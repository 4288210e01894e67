"""A log as a folder of plain files (C2SP tlog-tiles), to be served, mirrored or checked offline.

``checkpoint`` holds the tree head, ``tile/<level>/<n>`` 256 hashes each, ``tile/entries/<n>`` 256
entries each; the last ones may be partial. No opening is in it: the folder tells nothing personal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from consent import merkle
from consent.errors import LogDamagedError, MalformedError
from consent.note import MAX_NOTE_BYTES
from consent.snapshot import LogSnapshot
from consent.trust import Trusted, TrustPolicy

WIDTH = 256
CHECKPOINT = "checkpoint"  # the name that tlog-tiles gives the file of the tree head


def export_tiles(snapshot: LogSnapshot, folder: Path) -> int:
    """Write a log into a folder, new or of an earlier export; return the number of files written.

    Full tiles never change, so those that are there stay. The tree head comes last: whoever reads
    it finds all that it promises.

    Raises:
        LogDamagedError: The folder holds tiles of another log.
    """
    written = 0
    for level, index, width in tiles_of(snapshot.size):
        path = folder / tile_path(level, index, width)
        is_there = width == WIDTH and path.exists()
        if level is None and is_there:
            continue  # its hashes are compared
        if level is None:
            bodies = snapshot.entries(index * WIDTH, index * WIDTH + width)
            data = b"".join(len(body).to_bytes(2, "big") + body for body in bodies)
        else:
            hashes = snapshot.nodes(8 * level, index * WIDTH, index * WIDTH + width)
            data = b"".join(hashes)
        if not is_there:
            _write(path, data)
            written += 1
        elif path.read_bytes() != data:
            raise LogDamagedError(f"{path} is of another log; choose an empty folder")
    _write(folder / CHECKPOINT, snapshot.tree_head.encode())
    return written + 1


def verify_tiles(folder: Path, policy: TrustPolicy) -> Trusted:
    """Check an exported log: entries, hashes, root, and the tree head by ``policy``.

    Raises:
        LogDamagedError: A file is missing or wrong; the message names it.
        ConsentError: The tree head is not one that the policy trusts.
    """
    note = _read(folder / CHECKPOINT, MAX_NOTE_BYTES)
    try:
        trusted = policy.check(note.decode())
    except UnicodeDecodeError as e:
        raise MalformedError("the tree head is not UTF-8") from e
    head = trusted.head
    edge = merkle.Frontier()
    want: dict[int, list[bytes]] = {}  # hashes of the tile being filled, for each level
    for index in range((head.size + WIDTH - 1) // WIDTH):
        width = min(WIDTH, head.size - index * WIDTH)
        leaves = [merkle.leaf_hash(body) for body in read_bundle(folder, index, width)]
        for place in (done for leaf in leaves for done in edge.add(leaf)):
            level, _, value = place
            if level % 8 == 0:
                _collect(folder, want, level // 8, place[1], value)
    for level, hashes in want.items():
        if hashes:
            _compare(folder, level, (head.size >> 8 * level) // WIDTH, hashes)
    if edge.root() != head.root:
        raise LogDamagedError(f"the entries of {folder} are not those of its tree head")
    return trusted


def read_bundle(folder: Path, index: int, width: int) -> list[bytes]:
    """Return the entries of one bundle.

    Raises:
        LogDamagedError: It is missing, or does not hold ``width`` entries.
    """
    name = tile_path(None, index, width)
    data = _read(folder / name, WIDTH * (2 + 65_535))
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(entries) != width:
        raise LogDamagedError(f"{name}: expected {width} entries")
    return entries


def tile_path(level: int | None, index: int, width: int) -> str:
    """Return the name of a tile; ``level`` None: of entries. 1234067 is x001/x234/067."""
    digits = f"{index:03d}"
    digits = digits.rjust(-(-len(digits) // 3) * 3, "0")
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    suffix = "" if width == WIDTH else f".p/{width}"
    return f"tile/{'entries' if level is None else level}/{name}{suffix}"


def tiles_of(size: int) -> Iterator[tuple[int | None, int, int]]:
    """Yield (level, index, width) of every tile of a tree, entries first."""
    for level in (None, *range(64)):
        num = size >> 8 * (level or 0)
        if num == 0:
            break
        for index in range((num + WIDTH - 1) // WIDTH):
            yield level, index, min(WIDTH, num - index * WIDTH)


def _collect(folder: Path, want: dict[int, list[bytes]], level: int, at: int, value: bytes) -> None:
    tile = want.setdefault(level, [])
    tile.append(value)
    if len(tile) == WIDTH:
        _compare(folder, level, at // WIDTH, tile)
        tile.clear()


def _compare(folder: Path, level: int, index: int, hashes: list[bytes]) -> None:
    name = tile_path(level, index, len(hashes))
    if _read(folder / name, WIDTH * 32) != b"".join(hashes):
        raise LogDamagedError(f"{name}: its hashes are not of the entries")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size > max_bytes:
            raise LogDamagedError(f"{path} is too large")
        return path.read_bytes()
    except OSError as e:
        raise LogDamagedError(f"{path}: cannot be read ({e.strerror})") from e


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)
