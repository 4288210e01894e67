"""Which trainings a trade-off study runs: every combination of a few lists, each one once."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from core_model.action_units import check_aus
from core_model.config import FinetuneConfig, OptimiserConfig, Settings
from core_model.settings_file import load_settings
from simulations.faces.spec import LOOKS
from simulations.shipped import find_shipped

Reversal = Literal["absolute", "relative"]
IdentityLoss = Literal["bce_onehot", "ce"]
Layers = Literal[1, 2, 3]


class Corpus(Settings):
    """People to train on. Size is people times recordings times frames; diversity is the rest."""

    people: int = Field(gt=3)
    frames_per_recording: int = Field(20, gt=0)
    looks: tuple[str, ...] = ("lab",)  # people are spread evenly over these places
    shortcut_strength: float = Field(2.0, ge=0)  # 0: identity tells nothing about AUs

    @field_validator("looks")
    @classmethod
    def _known(cls, looks: tuple[str, ...]) -> tuple[str, ...]:
        if not looks or (unknown := set(looks) - LOOKS.keys()):
            raise ValueError(f"expected looks among {sorted(LOOKS)}, got {sorted(unknown)}")
        return looks

    @property
    def name(self) -> str:
        """How tables call it."""
        frames = self.people * 2 * self.frames_per_recording
        places = "" if self.looks == ("lab",) else f" at {', '.join(self.looks)}"
        return (
            f"{self.people} people{places}, {frames:,} frames, shortcut {self.shortcut_strength:g}"
        )


class Method(Settings):
    """How identity is taken out. A scale of 0 is plain fine-tuning, whatever else is said."""

    scale: float = Field(0.0, ge=0)
    reversal: Reversal = "relative"
    identity_loss: IdentityLoss = "ce"
    identity_head_layers: Layers = 1
    augment: bool = True

    @property
    def name(self) -> str:
        """How tables call it."""
        weak = "" if self.augment else ", no augmentation"
        if not self.scale:
            return f"none{weak}"
        loss = {"ce": "CE", "bce_onehot": "one-hot BCE"}[self.identity_loss]
        head = {1: "linear", 2: "2 layers", 3: "3 layers"}[self.identity_head_layers]
        return f"{self.reversal} {self.scale:g}, {loss}, {head}{weak}"


class Cell(Settings):
    """One training."""

    corpus: Corpus
    method: Method
    seed: int = Field(ge=0)
    epochs: int = Field(gt=1)
    batch_size: int = Field(gt=1)
    learning_rate: float = Field(gt=0)
    head_start: float = Field(ge=0, lt=1)
    action_units: tuple[int, ...]
    new_people: int = Field(gt=7)

    def digest(self) -> str:
        """SHA-256 (hex) of all settings: the name of the result."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def training(self) -> FinetuneConfig:
        """Return the settings of the training loop."""
        return FinetuneConfig(
            drop_path=0.0,
            reversal=self.method.reversal,
            reversal_scale=self.method.scale,
            identity_loss=self.method.identity_loss,
            identity_learning_rate=3.0,
            identity_steps=4,
            head_start=self.head_start,
            augment=self.method.augment,
            optimiser=OptimiserConfig(
                learning_rate=self.learning_rate, warmup=0.1, batch_size=self.batch_size
            ),
        )


class Series(Settings):
    """A question: one corpus list times one method list."""

    corpora: tuple[Corpus, ...] = Field(min_length=1)
    scales: tuple[float, ...] = Field((0.0,), min_length=1)
    reversals: tuple[Reversal, ...] = ("relative",)
    identity_losses: tuple[IdentityLoss, ...] = ("ce",)
    identity_head_layers: tuple[Layers, ...] = (1,)
    augment: bool = True
    seeds: tuple[int, ...] = ()  # fewer than the grid's, to spare time; empty: the grid's

    def methods(self) -> tuple[Method, ...]:
        """Return each method once; without reversal there is one only."""
        found = dict.fromkeys(
            Method(
                scale=scale, reversal=reversal, identity_loss=loss,
                identity_head_layers=layers, augment=self.augment,
            )
            if scale
            else Method(augment=self.augment)
            for scale, reversal, loss, layers in product(
                self.scales, self.reversals, self.identity_losses, self.identity_head_layers
            )
        )  # fmt: skip
        return tuple(found)


class Grid(Settings):
    """A whole study."""

    seeds: tuple[int, ...] = Field(min_length=1)
    epochs: int = Field(20, gt=1)
    batch_size: int = Field(16, gt=1)
    learning_rate: float = Field(1.5e-3, gt=0)
    head_start: float = Field(0.35, ge=0, lt=1)
    action_units: tuple[int, ...]
    new_people: int = Field(40, gt=7)  # to test on; as many again at the place nobody trained at
    series: tuple[Series, ...] = Field(min_length=1)

    @field_validator("action_units")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus)

    def cells(self) -> tuple[Cell, ...]:
        """Return every training once, the plain ones first."""
        found = dict.fromkeys(
            Cell(
                corpus=corpus, method=method, seed=seed, epochs=self.epochs,
                batch_size=self.batch_size, learning_rate=self.learning_rate,
                head_start=self.head_start, action_units=self.action_units,
                new_people=self.new_people,
            )
            for series in self.series
            for corpus, method, seed in product(
                series.corpora, series.methods(), series.seeds or self.seeds
            )
        )  # fmt: skip
        return tuple(sorted(found, key=lambda cell: cell.method.scale > 0))


def load_grid(name: str) -> Grid:
    """Read a grid: a file, or the name of one that is shipped.

    Raises:
        FileNotFoundError: There is none; names those that are shipped.
        SettingsError: It is not right; names file and field.
    """
    path = find_shipped(name, Path(__file__).parent / "grids", "grid")
    return load_settings(path, Grid)
