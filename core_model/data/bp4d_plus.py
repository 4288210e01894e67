"""BP4D+: laid out as BP4D, but an occurrence file has 34 columns **by position**, not by AU.

Only tasks T1, T6, T7 and T8 carry AU labels. The frames come zipped, a file for each person: unzip
them first.
"""

from __future__ import annotations

from pathlib import Path

from core_model.action_units import BP4D
from core_model.data.bp4d import Table, find_tasks, read_table
from core_model.data.source import Found, LayoutError, digits, read_grid

LICENCE = "BP4D+ (non-commercial research; models trained on it are encumbered)"
COLUMNS = (
    1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28, 29, 30,
    31, 32, 33, 34, 35, 36, 37, 38, 39,
)  # fmt: skip
"""The AU of each column after the frame's."""


def find(root: Path) -> Found:
    """Return the recordings of BP4D+.

    Raises:
        LayoutError: There are no label files here.
    """
    found = find_tasks(root, "bp4d_plus", LICENCE, read_occurrence)
    if not found.sources and any(root.glob("2D+3D/*.zip")):
        raise LayoutError(f"{root}: unzip the files in 2D+3D first: unzip '*.zip'")
    return found


def read_occurrence(path: Path) -> Table:
    """Read an occurrence file whose columns are in the order of ``COLUMNS``.

    Raises:
        LayoutError: It is not one.
    """
    lines = read_grid(path)
    _, header = next(lines, (1, []))
    numbers = [digits(cell) for cell in header[1:]]
    # A header that counts 1, 2, ... 34 numbers the columns; it does not name the AUs.
    counts = numbers == list(range(1, len(COLUMNS) + 1))
    is_named = not counts and None not in numbers
    if len(numbers) != len(COLUMNS) or (is_named and numbers != list(COLUMNS)):
        raise LayoutError(
            f"{path.name}: expected the frame and {len(COLUMNS)} AU columns of BP4D+, "
            f"got {len(header)} columns {header[:6]}"
        )
    columns = {au: COLUMNS.index(au) + 1 for au in BP4D}
    return read_table(path, lines, len(header), columns, None)
