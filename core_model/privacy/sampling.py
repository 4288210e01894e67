"""Who takes part in a step: Poisson sampling of people, some frames of each.

Every unit is drawn on its own with the plan's rate; nobody's part depends on anybody else's, and a
step may draw nobody. Shuffling would be another mechanism with a weaker guarantee (Chua et al.,
arXiv 2403.17673). All units have the same number of rows, however many frames a person has.

Shapes: F = frames of the data set, U = units drawn, R = rows of a unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_model.privacy.chance import Chance
from core_model.privacy.plan import PrivacyPlan


@dataclass(frozen=True)
class Draw:
    """Units of one step, and the frames that each of them gives. Shape of ``frames``: (U, R)."""

    frames: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def micro_batches(self, max_rows: int) -> Iterator[Draw]:
        """Yield the units in parts of at most ``max_rows`` rows, or of one unit if that has more.

        Which part a unit lies in changes nothing: clipped gradients are added up over the parts.
        """
        if not len(self):
            return
        units = max(1, max_rows // self.frames.shape[1])
        for part in self.frames.split(units):
            yield Draw(part)


class SubjectSampler:
    """Draw the units of each step from the frames of a data set.

    A person gives ``plan.frames_per_subject`` frames, one from each of that many equal stretches of
    their frames, so that they spread over time; whoever has fewer frames gives some of them again.
    Each frame stands there ``plan.views_per_frame`` times, to be augmented each time anew.

    Args:
        subjects: The person in each frame, in order of time for each person. Shape: (F,).
        plan: Unit, rate and frames.
        chance: Draws units and frames.
    """

    def __init__(self, subjects: Tensor, plan: PrivacyPlan, chance: Chance) -> None:
        self._plan, self._chance = plan, chance
        people = subjects.cpu().numpy()
        if plan.unit == "frame":
            self._units: list[NDArray[np.int64]] = [np.array([i]) for i in range(len(people))]
            self._frames_each = 1
        else:
            self._units = [np.flatnonzero(people == person) for person in np.unique(people)]
            self._frames_each = plan.frames_per_subject

    def draw(self) -> Draw:
        """Return the units of a step; there may be none."""
        taken = self._chance.bernoulli(len(self._units), self._plan.sampling_rate)
        rows = [self._frames_of(self._units[i]) for i in np.flatnonzero(taken)]
        num_rows = self._frames_each * self._plan.views_per_frame
        frames = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return Draw(torch.from_numpy(frames.reshape(-1, num_rows)))

    def _frames_of(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        num = self._frames_each
        places = (np.arange(num) + self._chance.uniform(num)) * len(frames) / num
        # Rounding may give a place just past the end.
        chosen = frames[np.minimum(places.astype(np.int64), len(frames) - 1)]
        return np.repeat(chosen, self._plan.views_per_frame)
