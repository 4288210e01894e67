"""What may be done to a person's logits over time: a neutral frame of theirs, and smoothing.

Both are off unless asked for. Neutral logits tell a little of what a face looks like at rest: they
stay in memory (and in the private file of an interrupted run), never in the output.

Shapes: A = action units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core_model.neutral import Floats, neutral_shift


@dataclass
class Adjuster:
    """Neutral frames and smoothing of the people of one input.

    Args:
        reference: Mean logits of neutral faces, of the model's card. Shape: (A,).
        neutral_frame: Number of the frame in which everyone seen is neutral; None: no calibration.
        smooth_s: Time in which a change is followed by two thirds; 0: no smoothing.
    """

    reference: Floats | None
    neutral_frame: int | None = None
    smooth_s: float = 0.0
    _shift: dict[int, Floats] = field(default_factory=dict)
    _smooth: dict[int, tuple[float, Floats]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.neutral_frame is not None and self.reference is None:
            raise ValueError(
                "this model does not know what neutral faces look like (its release had no "
                "validation people): use it without --neutral"
            )

    def adjust(self, person: int, frame: int, time_s: float, logits: Floats) -> tuple[Floats, bool]:
        """Return a person's logits, and whether they were set against a neutral frame. (A,)."""
        if frame == self.neutral_frame and self.reference is not None:
            self._shift[person] = neutral_shift(self.reference, logits)
        is_calibrated = person in self._shift
        if is_calibrated:
            logits = logits + self._shift[person]
        if self.smooth_s > 0:
            if person in self._smooth:
                then, before = self._smooth[person]
                share = -math.expm1(-max(time_s - then, 0.0) / self.smooth_s)
                logits = before + share * (logits - before)
            self._smooth[person] = (time_s, logits)
        return logits, is_calibrated

    def state(self) -> dict[str, Any]:
        """Return what goes on after an interruption, as plain values."""
        return {
            "shift": {str(p): s.tolist() for p, s in self._shift.items()},
            "smooth": {str(p): [t, v.tolist()] for p, (t, v) in self._smooth.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._shift = {int(p): np.array(s) for p, s in state["shift"].items()}
        self._smooth = {int(p): (float(t), np.array(v)) for p, (t, v) in state["smooth"].items()}
