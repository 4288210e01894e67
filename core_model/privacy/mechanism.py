"""One step of private training: draw people, clip each one's gradient, add noise, move.

The parts mean something only together, so one object holds them, and ``step`` is the only way to a
gradient. What it gives to the optimiser is private; all that follows from it (momentum, averages,
what a server does) is private too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from core_model.privacy.chance import Chance, add_noise
from core_model.privacy.clipping import ClipGroup, LossOfFrames, UnitClipper
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.sampling import SubjectSampler

Charge = Callable[[int], None]
"""Write down that so many steps are about to be taken. Returns when that is on disk, or raises."""


class Mechanism:
    """The subsampled Gaussian mechanism of a plan, over the weights of a model.

    A step is one use of the Gaussian mechanism with ``plan.noise_multiplier`` on a Poisson sample
    of rate ``plan.sampling_rate``. Use it as a context: it holds the model while it is open.

    Args:
        model: Trained in place.
        groups: The weights that train, and how long a unit's gradient may be in each group.
        subjects: The person in each frame. Shape: (F,).
        plan: Public numbers.
        chance: Draws people and noise.
        optimiser: Moves the weights of ``groups`` and no others.
        charge: Called with 1 before each step.
        max_rows: Frames that are on the device at once; changes no result.

    Raises:
        ValueError, TypeError: A weight that trains cannot be clipped exactly; it is named.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ClipGroup],
        *,
        subjects: Tensor,
        plan: PrivacyPlan,
        chance: Chance,
        optimiser: torch.optim.Optimizer,
        charge: Charge,
        max_rows: int = 64,
    ) -> None:
        self.plan, self.is_private = plan, chance.is_private
        weights = dict(model.named_parameters())
        names = [name for group in groups for name in group.names]
        _check_optimiser(optimiser, {n: weights[n] for n in names if n in weights})
        self._clipper = UnitClipper(model, groups, plan.clipping)
        self._weights = {name: weights[name] for name in names}
        self._sampler = SubjectSampler(subjects, plan, chance)
        self._chance, self._optimiser, self._charge = chance, optimiser, charge
        self._max_rows = max_rows
        sensitivity = math.sqrt(sum(group.clip_norm**2 for group in groups))
        self._deviation = plan.noise_multiplier * sensitivity

    def __enter__(self) -> Mechanism:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clipper.release()

    def step(self, loss_of_frames: LossOfFrames) -> None:
        """Take one step. With nobody drawn, it is a step of noise alone."""
        # (1) On record before anything happens: a step that is taken twice is charged twice.
        self._charge(1)
        # (2) Who takes part; clipped gradients added up, part by part.
        sums = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        for part in self._sampler.draw().micro_batches(self._max_rows):
            for name, clipped in self._clipper.clipped_sums(loss_of_frames, part.frames).items():
                sums[name] += clipped
        # (3) Noise on every weight, used or not; then a public number, never that of the drawn.
        total = torch.cat([summed.flatten() for summed in sums.values()])
        del sums
        noisy = add_noise(total, self._deviation, self._chance).div_(self.plan.denominator)
        parts = noisy.split([weight.numel() for weight in self._weights.values()])
        for weight, part in zip(self._weights.values(), parts, strict=True):
            weight.grad = part.view_as(weight).to(weight.dtype)
        self._optimiser.step()
        for weight in self._weights.values():
            weight.grad = None


def _check_optimiser(optimiser: torch.optim.Optimizer, weights: dict[str, nn.Parameter]) -> None:
    moved = {id(w) for group in optimiser.param_groups for w in group["params"]}
    missing = [name for name, weight in weights.items() if id(weight) not in moved]
    if missing or len(moved) != len(weights):
        raise ValueError(
            f"the optimiser moves {len(moved)} weights, {len(weights)} train; "
            f"not moved: {missing[:3]}"
        )
