"""Neighbouring replay: the same step with and without one person, noise off.

A step's sum of clipped gradients must move by at most the clip norm when a person is left out, else
the noise is too small for what is promised. Nothing here is chance: a fault shows at once (the idea
is that of arXiv 2602.17454).

Shapes: U = units, R = rows of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core_model.privacy.clipping import ClipGroup, LossOfFrames, UnitClipper
from core_model.privacy.plan import Clipping

TOLERANCE = 1e-5  # of float32


class Replay(NamedTuple):
    """How far leaving one person out moves a step, in units of what the noise is made for."""

    largest: float
    num_people: int

    @property
    def holds(self) -> bool:
        """Whether nobody moves a step further than promised."""
        return self.largest <= 1 + TOLERANCE


def replay(
    model: nn.Module,
    groups: Sequence[ClipGroup],
    loss: LossOfFrames,
    frames: Tensor,
    clipping: Clipping = "automatic",
    owners: Tensor | None = None,
) -> Replay:
    """Leave out each person once. Shape of ``frames``: (U, R).

    Args:
        model: Left as it was.
        groups: The weights that train.
        loss: Of each frame, alone; the same each time.
        frames: Of everybody in the step.
        clipping: Of the plan.
        owners: The person of each unit, (U,); None: each unit is a person.

    Raises:
        ValueError, TypeError: A weight cannot be clipped exactly; it is named.
    """
    clipper = UnitClipper(model, groups, clipping)
    try:
        everybody = clipper.clipped_sums(loss, frames)
        promised = math.sqrt(sum(group.clip_norm**2 for group in groups))
        largest = 0.0
        owners = torch.arange(len(frames)) if owners is None else owners
        people = owners.unique()
        for person in people:
            without = clipper.clipped_sums(loss, frames[owners != person])
            moved = [
                (summed - without[n]).double().square().sum() for n, summed in everybody.items()
            ]
            largest = max(largest, float(torch.stack(moved).sum().sqrt()) / promised)
    finally:
        clipper.release()
    return Replay(largest, len(people))
