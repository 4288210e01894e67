"""site.toml: where a site's data, consent and keys lie, and what it allows. Stays at the site."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from core_model.action_units import check_aus
from core_model.config import Purpose, Settings
from core_model.evaluation.pilot import Costs
from core_model.settings_file import load_settings
from fl_client.secure_caps import SecureCaps, check_peers

PLACES = ("consent", "state", "node", "socket")
HOURS = "^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$"


class Caps(Settings):
    """What the operator allows. The server proposes, the site disposes."""

    purposes: tuple[Purpose, ...] = ("pretraining", "finetuning")
    max_weights: int = Field(400_000_000, gt=0)  # of the largest model to train
    max_epochs_per_round: int = Field(50, gt=0)
    max_proximal: float = Field(10.0, ge=0)  # how strongly a plan may hold training back (FedProx)
    min_subjects: int = Field(1, ge=1)  # never train on fewer people
    may_share_decoder: bool = False  # an MAE decoder can draw faces
    may_send_counts: bool = False  # numbers of labelled frames
    max_epsilon: float = Field(8.0, gt=0)  # of a person, over all time; consent may say less
    max_steps_per_round: int = Field(1000, gt=0)  # of private rounds
    max_delta: float = Field(1e-5, gt=0, lt=1)
    allows_training_without_privacy: bool = False  # then no promise covers whoever takes part
    allows_frame_privacy: bool = False  # a promise about each frame is none about a person
    # Of the long-lived worker; a day is the last 24 hours. Not set: no limit.
    hours: str | None = Field(None, pattern=HOURS)  # when rounds may begin, in local time
    max_minutes_per_day: int | None = Field(None, gt=0)  # of rounds
    max_bytes_per_day: int | None = Field(None, gt=0)  # received and sent
    secure_sum: SecureCaps = SecureCaps()


class SiteConfig(Settings):
    """A site. Paths are relative to the file."""

    site_id: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    recordings: tuple[Path, ...] = Field(min_length=1)  # lists in the standard format
    consent: Path  # folder of the consent log and its keys, from omote-consent init
    state: Path  # folder for weights that never leave
    use: Path | None = None  # the declared use; none: the site takes part in no round
    labelled_aus: tuple[int, ...] = ()  # AUs to train; none: pretraining only
    device: str = "auto"
    threads: int = Field(0, ge=0)  # of the processor; 0: as many as torch likes
    node: Path = Path("node")  # folder of the SuperNode, which knows nothing of the rest
    socket: Path = Path("socket/worker")  # where the SuperNode finds the worker
    socket_group: str | None = None  # Unix group of a SuperNode that runs as another user
    caps: Caps = Caps()
    # Identity heads of public people that a private plan may name; files from whoever runs the
    # federation (omote-model public-head).
    frozen_heads: tuple[Path, ...] = ()
    costs: Costs = Costs()  # prices, for omote-site pilot report
    peers: dict[str, str] = Field(default_factory=dict)  # for secure sums: sites and their keys

    @field_validator("labelled_aus")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus) if aus else aus

    @field_validator("peers")
    @classmethod
    def _have_keys(cls, peers: dict[str, str]) -> dict[str, str]:
        return check_peers(peers)


def load_site_config(path: Path) -> SiteConfig:
    """Read site.toml.

    Raises:
        SettingsError: The file is missing or not right. Names file and field.
    """
    config = load_settings(path, SiteConfig)
    root = path.resolve().parent
    places = {name: root / getattr(config, name) for name in PLACES}
    if config.use is not None:
        places["use"] = root / config.use
    lists = tuple(root / p for p in config.recordings)
    heads = tuple(root / p for p in config.frozen_heads)
    return config.model_copy(update={**places, "recordings": lists, "frozen_heads": heads})
