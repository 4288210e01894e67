"""AU labels of one recording: which frames, which AUs, how strong, and what is not known.

The file is a CSV with a header ``frame,AU1,AU2,...``; values are FACS intensities 0-5, or 9 where
the coder could not tell (BP4D's sign). A column that is missing was never coded. Unknown is a mask,
never a zero.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import check_aus

LabelPolicy = Literal["mask", "negative"]
"""What becomes of a label that the coder left open: masked, or counted as absent as FMAE's code
does (its 999). A column that is missing was never coded and stays masked under both."""

UNKNOWN = 9
OCCURRENCE_THRESHOLD = 2  # intensity; DISFA's convention: trace (A) alone does not count


@dataclass(frozen=True)
class Labels:
    """Labels of T frames for A action units.

    Shapes: ``frames`` (T,) frame numbers from 1; ``intensities`` (T, A), 0-5 or ``UNKNOWN``.
    """

    aus: tuple[int, ...]
    frames: NDArray[np.int64]
    intensities: NDArray[np.int8]

    def occurrence(
        self,
        aus: tuple[int, ...],
        threshold: int = OCCURRENCE_THRESHOLD,
        policy: LabelPolicy = "mask",
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return occurrence and mask for ``aus``. Shapes: (T, A) each, values 0 or 1.

        An AU of ``aus`` that has no column has mask 0; one that is unknown in a frame has mask 0,
        or, under the policy ``negative``, occurrence 0 and mask 1.
        """
        shape = (len(self.frames), len(aus))
        occurs, known = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for column, au in enumerate(aus):
            if au in self.aus:
                values = self.intensities[:, self.aus.index(au)]
                known[:, column] = (values != UNKNOWN) | (policy == "negative")
                occurs[:, column] = (values >= threshold) & (values != UNKNOWN)
        return occurs, known


def read_labels(path: Path) -> Labels:
    """Read a label file.

    Raises:
        ValueError: A header, AU or value is not of the format. Says which line.
    """
    with path.open(newline="", encoding="utf-8") as f:
        reader = csv.reader(f)
        header = next(reader, [])
        if header[:1] != ["frame"] or not all(
            h[:2] == "AU" and h[2:].isdigit() for h in header[1:]
        ):
            raise ValueError(f"{path}: expected a header 'frame,AU1,...', got {header[:4]}")
        aus = tuple(int(h[2:]) for h in header[1:])
        if check_aus(aus) != aus:
            raise ValueError(f"{path}: expected AU columns in rising order, got {aus}")
        rows = []
        for line, row in enumerate(reader, start=2):
            try:
                values = [int(v) for v in row]
            except ValueError as e:
                raise ValueError(f"{path}, line {line}: expected whole numbers") from e
            if len(values) != len(header) or not set(values[1:]) <= {0, 1, 2, 3, 4, 5, UNKNOWN}:
                raise ValueError(f"{path}, line {line}: expected {len(aus)} values 0-5 or 9")
            rows.append(values)
    table = np.array(rows, dtype=np.int64).reshape(len(rows), len(header))
    return Labels(aus, table[:, 0], table[:, 1:].astype(np.int8))


def write_labels(path: Path, labels: Labels) -> None:
    """Write a label file."""
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["frame", *(f"AU{au}" for au in labels.aus)])
        for number, values in zip(labels.frames, labels.intensities, strict=True):
            writer.writerow([int(number), *(int(v) for v in values)])
