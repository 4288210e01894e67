"""What a site promises about any one person in a stage of training. All of it is public."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core_model.config import Settings

Unit = Literal["subject", "frame"]
Clipping = Literal["automatic", "hard"]
Scope = Literal["head", "norms", "last_k", "full"]


class PrivacyPlan(Settings):
    """Sampling, clipping and noise, tied together: no part means anything without the others.

    In each step every unit takes part with probability ``sampling_rate``, independently. Its
    gradient, the mean over up to ``frames_per_subject`` of its frames, is clipped to ``clip_norm``;
    Gaussian noise of standard deviation ``noise_multiplier * clip_norm`` is added to the sum; the
    sum is divided by ``sampling_rate * nominal_units``. Neighbouring data sets differ by one unit
    added or removed.

    ``nominal_units`` is a number that everybody may know. The true number of people at a site is
    private and appears nowhere.
    """

    unit: Unit = "subject"
    sampling_rate: float = Field(gt=0, le=1)
    nominal_units: int = Field(ge=1)
    frames_per_subject: int = Field(16, ge=1)
    steps_per_round: int = Field(ge=1)
    noise_multiplier: float = Field(gt=0)
    clip_norm: float = Field(1.0, gt=0)
    clipping: Clipping = "automatic"  # AUTO-S, Bu et al. 2023; hard: min(1, C / norm)
    delta: float = Field(1e-5, gt=0, lt=1)
    scope: Scope = "full"  # which weights train; the rest stays as received and is not sent
    last_k: int = Field(2, ge=1)  # blocks that train in scope last_k

    @property
    def denominator(self) -> float:
        """What sums of gradients are divided by: the expected number of units in a step."""
        return self.sampling_rate * self.nominal_units
