"""federation.toml: who takes part, and what they train together."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from consent.errors import MalformedError
from consent.keys import VerifierKey
from core_model.action_units import check_aus
from core_model.config import Settings, TrainingConfig
from core_model.privacy.plan import PrivacyPlan
from core_model.protocol.messages import Weighting
from core_model.settings_file import load_settings


class EnrolledSite(Settings):
    """A site whose keys the server knows. Nothing here is secret."""

    site_id: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    key: str  # C2SP verifier key that signs attestations
    log_key: str  # C2SP verifier key of the site's consent log
    labelled_aus: tuple[int, ...] = ()  # AUs that the site may train; none: pretraining only
    weight: float = Field(1.0, gt=0, le=1000)  # public share in the average

    @field_validator("key", "log_key")
    @classmethod
    def _is_key(cls, vkey: str) -> str:
        try:
            VerifierKey.parse(vkey)
        except MalformedError as e:
            raise ValueError(str(e)) from e
        return vkey

    @field_validator("labelled_aus")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus) if aus else aus


class Stage(Settings):
    """Some rounds of one kind of training."""

    rounds: int = Field(gt=0)
    training: TrainingConfig
    server_momentum: float = Field(0.0, ge=0, lt=1)  # 0: the plain mean (docs/adr/0009)
    server_learning_rate: float = Field(1.0, gt=0, le=2)  # share of the server's step
    privacy: PrivacyPlan | None = None  # None: no promise about any person; sites must allow that

    @property
    def has_velocity(self) -> bool:
        """Whether the server remembers where the rounds before were going."""
        return self.server_momentum > 0


class Demands(Settings):
    """What every attestation must say. The defaults demand nothing that a site has to prepare."""

    policy: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # digest of the agreed rules
    code: tuple[str, ...] = ()  # digests of the agreed software; none: any
    needs_noise: bool = False  # differential privacy in every round
    max_epsilon: str | None = Field(
        None, pattern=r"^[0-9]{1,4}(\.[0-9]{1,6})?$"
    )  # of a site, in all
    allows_simulation: bool = False  # seeded noise, which protects nobody


class FederationConfig(Settings):
    """A whole federation. Paths are relative to the file."""

    run_id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # sites refuse dots in front
    seed: int = Field(0, ge=0)  # of all local training
    action_units: tuple[int, ...]  # rows of the AU head
    initial: Path  # checkpoint that the first round starts from
    output: Path  # folder for checkpoints and the record of rounds
    stages: tuple[Stage, ...] = Field(min_length=1)
    sites: tuple[EnrolledSite, ...] = Field(min_length=1)
    weighting: Weighting = Weighting.SITE
    quorum: int = Field(1, ge=1)  # sites; with fewer the weights stay as they are
    min_subjects: int = Field(1, ge=1)  # people that a site must have in a round
    demands: Demands = Demands()
    timeout_s: float = Field(3600.0, gt=0)  # for one round
    join_timeout_s: float = Field(120.0, ge=0)  # for all sites to appear; later ones join then

    @field_validator("action_units")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus)

    @model_validator(mode="after")
    def _agree(self) -> FederationConfig:
        ids = [s.site_id for s in self.sites]
        if len(set(ids)) != len(ids):
            raise ValueError("sites: two sites have the same site_id")
        keys = [VerifierKey.parse(vkey).public for s in self.sites for vkey in (s.key, s.log_key)]
        if len(set(keys)) != len(keys):
            raise ValueError("sites: a key stands twice; each site has two keys of its own")
        for site in self.sites:
            if extra := set(site.labelled_aus) - set(self.action_units):
                raise ValueError(
                    f"sites: {site.site_id} labels {sorted(extra)}, not in action_units"
                )
        self._check_privacy()
        if self.quorum > len(self.sites):
            raise ValueError(f"quorum: {self.quorum} sites can never answer, {len(ids)} enrolled")
        return self

    def _check_privacy(self) -> None:
        for number, stage in enumerate(self.stages, start=1):
            if stage.privacy is None and self.demands.needs_noise:
                raise ValueError(
                    f"stages: stage {number} has no privacy plan, but demands.needs_noise is set"
                )
            if stage.privacy is not None and self.weighting is Weighting.FRAMES:
                raise ValueError(
                    f"weighting: counts of frames are private in stage {number}; use site"
                )


def load_federation(path: Path) -> FederationConfig:
    """Read federation.toml.

    Raises:
        SettingsError: The file is missing or not right. Names file and field.
    """
    config = load_settings(path, FederationConfig)
    root = path.resolve().parent
    return config.model_copy(
        update={"initial": root / config.initial, "output": root / config.output}
    )
