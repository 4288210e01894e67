"""Recipes: published experiments field by field, each number with its source. No torch.

A recipe is a TOML file; those of the papers are shipped. ``DIFFERENCES`` says where our loop does
not do what the authors' code does, so that nobody takes a recipe for a replica.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core_model.action_units import parse_aus
from core_model.config import EncoderConfig, Settings, Size, TrainingConfig, encoder_config
from core_model.data.labels import LabelPolicy
from core_model.evaluation.partitions import PARTITIONS
from core_model.evaluation.thresholds import ThresholdPolicy
from core_model.settings_file import load_settings

DIFFERENCES: dict[Literal["finetuning", "pretraining"], tuple[str, ...]] = {
    "finetuning": (
        "augmentation: ours mirrors, moves, turns, scales and relights a little; the authors crop "
        "8-100 % of the face, RandAugment (m9, mstd 0.5, inc1) and erase at random (0.25); "
        "omote-site finetune --augment paper does so too",
        "identity head: an optimiser of its own without weight decay, one step ahead of the "
        "encoder; the authors step all weights together with weight decay 0.05",
        "optimiser: its moments start anew each epoch, as in federated rounds; not in omote-site "
        "finetune",
        "positions: those of the checkpoint are kept; the authors train them",
        "norm after the pool: starts from MAE's last norm; the authors start a fresh one",
        "order of examples: new in each epoch; the authors' is the same in every epoch",
        "precision: float32, in omote-site bfloat16 where the device has it; the authors use AMP "
        "in float16",
    ),
    "pretraining": (
        "augmentation: mirroring only; MAE also crops 20-100 % of the image, FMAE does not",
        "precision: float32, in omote-site bfloat16 where the device has it; the authors use AMP "
        "in float16",
    ),
}


class Recipe(Settings):
    """One experiment."""

    name: str = Field(pattern="^[a-z0-9_]+$")
    title: str
    size: Size
    image_size: int = Field(224, gt=0)  # pixels a side
    pooling: Literal["mean", "class"] | None = None  # None: as the size has it
    aus: str = ""  # AUs of the head: a set's name or a list; empty for pretraining
    partitions: Literal["bp4d", "bp4d_plus", "disfa"] | None = None
    epochs: int = Field(gt=0)
    label_policy: LabelPolicy = "mask"
    threshold_policy: ThresholdPolicy = "val_swept_common"
    identity_head_layers: Literal[1, 2, 3] = 1
    starts_from: str
    published_f1: dict[int, float] = Field({})  # of each AU
    published_macro_f1: float | None = None
    training: Annotated[TrainingConfig, Field(discriminator="purpose")]
    sources: dict[str, str] = Field({})  # where each number comes from, by field

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if bool(self.aus) != (self.training.purpose == "finetuning"):
            raise ValueError("aus: fine-tuning needs them, pretraining has none")
        if self.training.optimiser.epochs_per_round != 1:
            raise ValueError("training.optimiser.epochs_per_round: leave it, and set epochs")
        return self

    @property
    def action_units(self) -> tuple[int, ...]:
        """The rows of the AU head."""
        return parse_aus(self.aus) if self.aus else ()

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder, if it starts from fresh weights."""
        config = encoder_config(self.size, self.image_size)
        return config if self.pooling is None else config.model_copy(
            update={"pooling": self.pooling}
        )  # fmt: skip

    @property
    def partition_names(self) -> tuple[str, ...]:
        """The names of the partitions to test on in turn."""
        parts = PARTITIONS[self.partitions] if self.partitions else {}
        return tuple(f"{self.partitions}/{part}" for part in parts)


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with Omote, by name."""
    folder = Path(__file__).parent / "recipes"
    return {p.stem: p for p in sorted(folder.glob("*.toml"))}


def load_recipe(name: str) -> Recipe:
    """Read a recipe: a file, or the name of one that is shipped.

    Raises:
        SettingsError: It is not right; names file and field.
        FileNotFoundError: There is none; names those that are shipped.
    """
    shipped = shipped_recipes()
    if name in shipped:
        return load_settings(shipped[name], Recipe)
    if not Path(name).exists():
        raise FileNotFoundError(f"no recipe {name!r}; shipped are: {', '.join(shipped)}")
    return load_settings(Path(name), Recipe)
