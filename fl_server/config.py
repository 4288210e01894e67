"""federation.toml: who takes part, and what they train together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from consent.errors import MalformedError
from consent.keys import VerifierKey
from core_model.action_units import check_aus
from core_model.config import Settings, TrainingConfig
from core_model.evaluation.public_set import PublicSet
from core_model.privacy.plan import PrivacyPlan
from core_model.protocol.messages import Weighting
from core_model.protocol.wire import Wire
from core_model.settings_file import SettingsError, explain, load_settings
from fl_server.robust import RobustSettings, least_sites
from fl_server.secure_settings import SecureSumSettings

MAX_ADAPTIVE_STEP = 0.1  # of a weight in a round; weights of a ViT are about 0.02
HostPort = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]


class EnrolledSite(Settings):
    """A site whose keys the server knows. Nothing here is secret."""

    site_id: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    key: str  # C2SP verifier key that signs attestations
    log_key: str  # C2SP verifier key of the site's consent log
    labelled_aus: tuple[int, ...] = ()  # AUs that the site may train; none: pretraining only
    weight: float = Field(1.0, gt=0, le=1000)  # public share in the average
    node_key: str | None = None  # public key of its SuperNode, OpenSSH; none: cannot connect
    suspended: bool = False  # enrolled, but nothing from it counts

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
    server_optimiser: Literal["fedavgm", "fedadam"] = "fedavgm"
    server_momentum: float = Field(0.0, ge=0, lt=1)  # fedavgm with 0: the plain mean
    # fedavgm: share of the mean change. fedadam: step of one weight, so far smaller.
    server_learning_rate: float = Field(1.0, gt=0, le=2)
    server_second_momentum: float = Field(0.99, ge=0, lt=1)  # fedadam: the paper's beta 2
    server_adaptivity: float = Field(1e-3, gt=0)  # fedadam: the paper's tau
    proximal: float = Field(0.0, ge=0)  # FedProx's mu at the sites; they cap it. 0: none
    privacy: PrivacyPlan | None = None  # None: no promise about any person; sites must allow that
    max_update_norm: float | None = Field(None, gt=0)  # L2, of a site's change in one round
    aggregation: RobustSettings = RobustSettings()
    secure_sum: SecureSumSettings | None = None  # None: the server sees each update

    @property
    def has_moments(self) -> bool:
        """Whether the server remembers where the rounds before were going."""
        return self.server_momentum > 0 or self.server_optimiser == "fedadam"

    @model_validator(mode="after")
    def _steps_are_small(self) -> Stage:
        if self.server_optimiser == "fedadam" and self.server_learning_rate > MAX_ADAPTIVE_STEP:
            raise ValueError(
                "server_learning_rate: with fedadam it is how far one weight moves in a round; "
                f"set at most {MAX_ADAPTIVE_STEP}, such as 0.001"
            )
        return self

    @model_validator(mode="after")
    def _can_be_secret(self) -> Stage:
        if self.secure_sum is not None:
            self.secure_sum.check_fits(self.aggregation, self.max_update_norm)
        return self


class Demands(Settings):
    """What every attestation must say. The defaults demand nothing that a site has to prepare."""

    policy: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # digest of the agreed rules
    code: tuple[str, ...] = ()  # digests of the agreed software; none: any
    needs_noise: bool = False  # differential privacy in every round
    max_epsilon: str | None = Field(
        None, pattern=r"^[0-9]{1,4}(\.[0-9]{1,6})?$"
    )  # of a site, in all
    allows_simulation: bool = False  # seeded noise, which protects nobody


class LinkConfig(Settings):
    """Where the programs of the server listen. Only ``listen`` is for others than this machine."""

    address: HostPort = "localhost:9443"  # what sites connect to; the certificate is of this host
    listen: HostPort = "0.0.0.0:9443"  # of the proxy that lets fleet calls through and no others
    superlink_port: int = Field(9092, gt=0, lt=65536)  # on loopback, behind the proxy
    health_port: int = Field(9444, gt=0, lt=65536)  # on loopback: grpc's standard health service
    metrics_port: int = Field(9445, gt=0, lt=65536)  # on loopback: for Prometheus

    @model_validator(mode="after")
    def _agree(self) -> LinkConfig:
        ports = [
            split_address(self.listen)[1],
            self.superlink_port,
            self.health_port,
            self.metrics_port,
        ]
        if len(set(ports)) != len(ports):
            raise ValueError(f"four different ports are needed, got {ports}")
        return self


def split_address(address: str) -> tuple[str, int]:
    """Return host and port; an IPv6 address loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class FederationDraft(Settings):
    """A federation that sites can still be enrolled in. Paths are relative to the file."""

    run_id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # sites refuse dots in front
    seed: int = Field(0, ge=0)  # of all local training
    action_units: tuple[int, ...]  # rows of the AU head
    initial: Path  # checkpoint that the first round starts from
    output: Path  # folder for checkpoints and the record of rounds
    stages: tuple[Stage, ...] = Field(min_length=1)
    sites: tuple[EnrolledSite, ...] = ()  # and those in sites/, from omote-server enroll
    weighting: Weighting = Weighting.SITE
    wire: Wire = "float32"  # float16: half the bytes of each round
    quorum: int = Field(1, ge=1)  # sites; with fewer the weights stay as they are
    quorum_subjects: int = Field(1, ge=1)  # people, as far as sites vouch for min_subjects each
    min_subjects: int = Field(1, ge=1)  # people that a site must have in a round
    demands: Demands = Demands()
    evaluation: PublicSet | None = None  # None: this server measures nothing
    link: LinkConfig = LinkConfig()
    timeout_s: float = Field(3600.0, gt=0)  # for one round
    join_timeout_s: float = Field(120.0, ge=0)  # for all sites to appear; later ones join then
    max_asks: int = Field(8, ge=1, le=100)  # of a site in a round, if faults keep it from answering

    @field_validator("action_units")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus)

    @model_validator(mode="after")
    def _agree(self) -> FederationDraft:
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
            if stage.secure_sum is not None:
                by_frames = self.weighting is Weighting.FRAMES
                stage.secure_sum.check_weighting(number, by_frames=by_frames)


class FederationConfig(FederationDraft):
    """A whole federation: enough sites are enrolled for its quorum."""

    @model_validator(mode="after")
    def _can_start(self) -> FederationConfig:
        num = sum(not s.suspended for s in self.sites)
        if not num:
            raise ValueError("sites: none takes part; enrol one with: omote-server enroll")
        if self.quorum > num:
            raise ValueError(f"quorum: {self.quorum} sites can never answer, {num} enrolled")
        for rule in (stage.aggregation for stage in self.stages):
            if (least := least_sites(rule)) > self.quorum:
                raise ValueError(
                    f"stages: {rule.rule} with {rule.num_bad} bad sites needs a quorum of {least}"
                )
        for number, stage in enumerate(self.stages, start=1):
            everyone = stage.training.purpose == "pretraining"
            asked = sum(not s.suspended and (everyone or bool(s.labelled_aus)) for s in self.sites)
            if stage.secure_sum is not None:
                stage.secure_sum.check_sites(number, asked)
        if self.quorum_subjects > num * self.min_subjects:
            raise ValueError(
                f"quorum_subjects: {num} sites vouch for {self.min_subjects} people each, which "
                f"never makes {self.quorum_subjects}; raise min_subjects"
            )
        return self


def load_federation(path: Path) -> FederationConfig:
    """Read federation.toml and the sites that were enrolled beside it.

    Raises:
        SettingsError: A file is missing or not right. Names file and field.
    """
    return _load(path, FederationConfig)


def load_draft(path: Path) -> FederationDraft:
    """Read the same while there may be too few sites to start.

    Raises:
        SettingsError: A file is missing or not right. Names file and field.
    """
    return _load(path, FederationDraft)


Draft = TypeVar("Draft", bound=FederationDraft)


def sites_folder(path: Path) -> Path:
    """Return where the sites of a federation.toml are enrolled: one file each."""
    return path.resolve().parent / "sites"


def suspended_sites(path: Path) -> frozenset[str]:
    """Return the sites that are suspended now. Read anew at every admission.

    Raises:
        SettingsError: A file is not right.
    """
    return frozenset(s.site_id for s in load_draft(path).sites if s.suspended)


def enrolled_sites(path: Path) -> tuple[EnrolledSite, ...]:
    """Return the sites that were enrolled beside a federation.toml, in order of their names.

    Raises:
        SettingsError: A file is not right.
    """
    files = sorted(sites_folder(path).glob("*.toml"))
    return tuple(load_settings(file, EnrolledSite) for file in files)


def _load(path: Path, kind: type[Draft]) -> Draft:
    draft = load_settings(path, FederationDraft)
    root = path.resolve().parent
    changes = {
        "sites": (*draft.sites, *enrolled_sites(path)),
        "initial": root / draft.initial,
        "output": root / draft.output,
        "evaluation": draft.evaluation and draft.evaluation.below(root),
    }
    try:
        return kind.model_validate({**dict(draft), **changes})
    except ValidationError as e:
        raise SettingsError(explain(path, e)) from e
