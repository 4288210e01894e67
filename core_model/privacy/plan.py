"""What a site promises about any one person in a stage of training. All of it is public."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from core_model.config import Settings

Unit = Literal["subject", "frame"]
Clipping = Literal["automatic", "hard"]
Scope = Literal["head", "norms", "lora", "last_k", "full"]
FEW, MANY = 1000, 10_000  # people from whose number on more weights train by default
IdentityHead = Literal["none", "frozen", "inside"]


def default_scope(nominal_units: int) -> Scope:
    """Return the weights that pay under noise with so many people, by a number that is public."""
    if nominal_units < FEW:
        return "norms"
    return "last_k" if nominal_units < MANY else "full"


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
    views_per_frame: int = Field(1, ge=1)  # augmented views averaged inside a unit; costs nothing
    steps_per_round: int = Field(ge=1)
    noise_multiplier: float = Field(gt=0)
    clip_norm: float = Field(1.0, gt=0)
    clipping: Clipping = "automatic"  # AUTO-S, Bu et al. 2023; hard: min(1, C / norm)
    delta: float = Field(1e-5, gt=0, lt=1)
    # Which weights train; the rest stays as received and is not sent. Unsaid: ``default_scope``.
    scope: Scope = "norms"
    last_k: int = Field(2, ge=1)  # blocks that train in scope last_k
    # none: no reversal. frozen: a head of public or generated people, which the encoder learns to
    # confuse. inside: a head that learns under the same noise, clipped by itself.
    identity_head: IdentityHead = "none"
    frozen_head: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # digest of a frozen head
    identity_slots: int = Field(64, ge=2)  # rows of a head inside; people share them by a hash
    identity_clip: float = Field(0.25, gt=0)  # of a head inside, times clip_norm
    averaging: float = Field(0.0, ge=0, lt=1)  # decay of the mean of iterates; 0 sends the last one

    @model_validator(mode="before")
    @classmethod
    def _fill_scope(cls, given: Any) -> Any:
        if isinstance(given, dict) and "scope" not in given:
            people = given.get("nominal_units")
            if isinstance(people, int):  # else its own field says what is wrong
                return given | {"scope": default_scope(people)}
        return given

    @property
    def denominator(self) -> float:
        """What sums of gradients are divided by: the expected number of units in a step."""
        return self.sampling_rate * self.nominal_units
