"""What an identity evaluation found, as it stands in JSON. Names no person; no torch."""

from __future__ import annotations

from typing import Literal

from core_model.config import Settings
from core_model.evaluation.attackers import AttackerName
from core_model.evaluation.result import Measure, ModelFacts

Surface = Literal["features", "logits", "au_outputs"]
"""What the attacker sees: the pooled feature, the AU logits, or the AU probabilities."""


class AttackResult(Settings):
    """How often one attacker names the right person of those enrolled."""

    attacker: AttackerName
    setting: str
    accuracy: Measure  # of a frame
    recording_accuracy: Measure  # of a whole recording
    has_converged: bool


class VerificationResult(Settings):
    """Pairs of recordings of people whom the attacker never saw."""

    equal_error_rate: Measure  # 0.5 is guessing
    tar_at_far_1e3: Measure  # null where too few impostor pairs are there
    num_genuine: int
    num_impostors: int


class SurfaceResult(Settings):
    """All attacks on one thing that the detector gives away."""

    attacks: tuple[AttackResult, ...]
    verification: VerificationResult | None  # None: too few people


class WeakProbe(Settings):
    """The paper's probe on the features, and what its two weaknesses hide."""

    paper: float  # 20 epochs, frames split at random
    converged_random_split: float  # the same split, a converged linear attacker


class GroupResult(Settings):
    """One group of people."""

    name: str
    are_new: bool  # said by the user: the detector was not trained on them
    num_people: int
    num_recordings: int
    num_frames: int  # used, after thinning
    chance: float  # of always naming the person with most frames
    surfaces: dict[Surface, SurfaceResult]
    weak_probe: WeakProbe


class IdentityResult(Settings):
    """How much identity one detector gives away."""

    format: Literal[1] = 1
    model: ModelFacts
    frames_per_recording: int
    groups: tuple[GroupResult, ...]
