"""results.json: what an experiment found. Every key is documented here."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from core_model.evaluation.identity import Probe
from core_model.evaluation.metrics import Score


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScoreResult(_Part):
    """A value with its 95 % interval (bootstrap over people)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, score: Score) -> ScoreResult:
        """Return the same as a model."""
        return cls(value=score.value, low=score.low, high=score.high)


class ProbeResult(_Part):
    """A linear probe's share of frames given to the right person, and what guessing gets."""

    accuracy: float
    chance: float
    num_subjects: int

    @classmethod
    def of(cls, probe: Probe) -> ProbeResult:
        """Return the same as a model."""
        return cls(accuracy=probe.accuracy, chance=probe.chance, num_subjects=probe.num_subjects)


class ArmResult(_Part):
    """One way to train."""

    reversal_scale: float
    threshold: float  # common to all AUs, chosen on validation people
    macro_f1_unseen_people: float  # new people at the known places, true labels, all AUs
    macro_f1_unseen_people_interval: ScoreResult
    f1_unseen_people: dict[int, ScoreResult]  # by AU
    macro_f1_unseen_site: float  # a place that takes no part
    macro_f1_unseen_site_interval: ScoreResult
    macro_f1_seen_people: float  # people trained on, as their sites labelled them
    identity_probe: float  # people trained on, recordings apart; as the paper measures it
    identity_chance: float
    identity_probe_unseen_people: ProbeResult
    identity_probe_real_people: ProbeResult  # ORL, people never trained on


class RoundResult(_Part):
    """One round of an arm."""

    round: int
    purpose: str
    admitted: list[str]
    refused: dict[str, str]  # site: name of the code
    seconds: float


class WireResult(_Part):
    """What left the sites in the arm 'federated_iat', and what stayed."""

    shared: dict[str, int]  # names of weights and their bytes
    stayed: dict[str, int]
    bytes_sent_per_site_round: dict[str, float]  # by purpose, mean


class PrivacyResult(_Part):
    """What the ledgers of the private arm came to."""

    epsilon: float  # of a person, in all rounds; add or remove one person
    accountant: str
    delta: float
    unit: str
    scope: str  # weights that trained
    noise_multiplier: float
    is_simulation: bool  # chance was seeded: the run protects nobody


class Results(_Part):
    """One run of an experiment with one seed."""

    format: int = 1
    scenario: str
    seed: int
    action_units: list[int]
    arms: dict[str, ArmResult]
    curve: dict[str, float] = Field(default_factory=dict)  # arm: reversal scale, rising
    best_single_site: dict[str, float]  # site, own_aus_alone, own_aus_federated, all_aus_alone
    rounds: list[RoundResult]  # of the arm 'federated_iat'
    wire: WireResult
    mae_loss: dict[str, float] = Field(default_factory=dict)  # decoder 'local' and 'shared'
    epsilon: str = "not private in this run"  # of a person in the arm 'private', if there is one
    privacy: PrivacyResult | None = None  # of that arm; the other arms promise nothing
    bytes_sent_per_site_round: float  # fine-tuning, mean over sites and rounds
    seconds: float
    peak_rss_bytes: int  # of the largest process
    machine: str

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        draft.write_text(self.model_dump_json(indent=2) + "\n")
        draft.replace(path)
