"""site.toml: where a site's data, consent and keys lie, and what it allows. Stays at the site."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from core_model.action_units import check_aus
from core_model.config import Purpose, Settings
from core_model.settings_file import load_settings


class Caps(Settings):
    """What the operator allows. The server proposes, the site disposes."""

    purposes: tuple[Purpose, ...] = ("pretraining", "finetuning")
    max_weights: int = Field(400_000_000, gt=0)  # of the largest model to train
    max_epochs_per_round: int = Field(50, gt=0)
    min_subjects: int = Field(1, ge=1)  # never train on fewer people
    may_share_decoder: bool = False  # an MAE decoder can draw faces
    may_send_counts: bool = False  # numbers of labelled frames
    max_epsilon: float = Field(8.0, gt=0)  # of a person, over all time; consent may say less
    max_steps_per_round: int = Field(1000, gt=0)  # of private rounds
    max_delta: float = Field(1e-5, gt=0, lt=1)
    allows_training_without_privacy: bool = False  # then no promise covers whoever takes part
    allows_frame_privacy: bool = False  # a promise about each frame is none about a person


class SiteConfig(Settings):
    """A site. Paths are relative to the file."""

    site_id: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    recordings: tuple[Path, ...] = Field(min_length=1)  # lists in the standard format
    consent: Path  # folder of the consent log and its keys, from omote-consent init
    state: Path  # folder for weights that never leave
    labelled_aus: tuple[int, ...] = ()  # AUs to train; none: pretraining only
    device: str = "auto"
    threads: int = Field(0, ge=0)  # of the processor; 0: as many as torch likes
    caps: Caps = Caps()

    @field_validator("labelled_aus")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus) if aus else aus


def load_site_config(path: Path) -> SiteConfig:
    """Read site.toml.

    Raises:
        SettingsError: The file is missing or not right. Names file and field.
    """
    config = load_settings(path, SiteConfig)
    root = path.resolve().parent
    places = {name: root / getattr(config, name) for name in ("consent", "state")}
    lists = tuple(root / p for p in config.recordings)
    return config.model_copy(update={**places, "recordings": lists})
