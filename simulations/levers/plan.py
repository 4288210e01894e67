"""Which levers a study pulls: ways to begin a training, and ways to adapt what came of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from core_model.action_units import check_aus
from core_model.adaptation import AdaptationConfig, Trained
from core_model.config import OptimiserConfig, PretrainConfig, Settings
from core_model.settings_file import load_settings
from simulations.shipped import find_shipped
from simulations.tradeoff.grid import Cell, Corpus, Method

Start = Literal["reference", "no augmentation", "pretrained"]
Pool = Literal["generated", "ORL"]


class Beginning(Settings):
    """How a training begins. Each is fine-tuned by the same settings afterwards."""

    pools: tuple[Pool, ...] = ()  # unlabelled faces for masked pretraining, one after another
    augment: bool = True

    @property
    def name(self) -> str:
        """How tables call it."""
        if self.pools:
            return f"pretrained on {', then '.join(self.pools)}"
        return "reference" if self.augment else "no augmentation"


class Cure(Settings):
    """What the new site does with the reference detector. Nobody there labels anything."""

    trained: Trained | None = None  # None: no training
    neutral: bool = False  # one neutral frame of each person

    @property
    def name(self) -> str:
        """How tables call it."""
        words = {
            "all": "self-training, all weights", "bottlenecks": "self-training, bottlenecks",
            "norms": "self-training, norms",
        }  # fmt: skip
        parts = [words[self.trained]] if self.trained else []
        return " + ".join([*parts, *(["neutral frame"] if self.neutral else [])])


class LeverCell(Settings):
    """One training from one beginning, and what the site does with it."""

    beginning: Beginning
    cures: tuple[Cure, ...]
    base: Cell  # people, optimiser and epochs of the fine-tuning
    pretraining: PretrainConfig
    pool_people: int  # generated ones, unlabelled
    pretraining_epochs: int
    adaptation: AdaptationConfig
    site_people: int  # at the new site, without labels; others than those tested on

    def digest(self) -> str:
        """SHA-256 (hex) of all settings: the name of the result."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class LeverPlan(Settings):
    """A whole study."""

    seeds: tuple[int, ...] = Field(min_length=1)
    action_units: tuple[int, ...]
    people: int = Field(gt=7)  # trained on
    frames_per_recording: int = Field(20, gt=1)  # two recordings of each
    new_people: int = Field(gt=7)  # tested on, at the place of training and at the new one
    site_people: int = Field(gt=0)
    epochs: int = Field(gt=1)
    batch_size: int = Field(16, gt=1)
    learning_rate: float = Field(1.5e-3, gt=0)
    pool_people: int = Field(gt=0)
    pretraining_epochs: int = Field(gt=0)
    adaptation: AdaptationConfig = AdaptationConfig()

    @field_validator("action_units")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus)

    def cells(self) -> tuple[LeverCell, ...]:
        """Return every training, the reference first."""
        beginnings = (
            Beginning(),
            Beginning(augment=False),
            Beginning(pools=("generated",)),
            Beginning(pools=("ORL",)),
            Beginning(pools=("generated", "ORL")),
        )
        return tuple(
            LeverCell(
                beginning=beginning,
                cures=CURES if beginning == Beginning() else (),
                base=self._base(seed, beginning.augment),
                pretraining=PretrainConfig(
                    optimiser=OptimiserConfig(
                        learning_rate=1e-3, betas=(0.9, 0.95), warmup=0.1, batch_size=32
                    ),
                    decoder_dim=128, decoder_depth=1, decoder_heads=4, mask_ratio=0.5,
                ),
                pool_people=self.pool_people,
                pretraining_epochs=self.pretraining_epochs,
                adaptation=self.adaptation,
                site_people=self.site_people,
            )
            for seed in self.seeds
            for beginning in beginnings
        )  # fmt: skip

    def _base(self, seed: int, augment: bool) -> Cell:
        return Cell(
            corpus=Corpus(people=self.people, frames_per_recording=self.frames_per_recording),
            method=Method(augment=augment),
            seed=seed,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            head_start=0.0,
            action_units=self.action_units,
            new_people=self.new_people,
        )


CURES = (
    Cure(neutral=True),
    Cure(trained="bottlenecks"),
    Cure(trained="norms"),
    Cure(trained="all"),
    Cure(trained="all", neutral=True),
)


def load_plan(name: str) -> LeverPlan:
    """Read a plan: a file, or the name of one that is shipped.

    Raises:
        FileNotFoundError: There is none; names those that are shipped.
        SettingsError: It is not right; names file and field.
    """
    path = find_shipped(name, Path(__file__).parent / "plans", "plan")
    return load_settings(path, LeverPlan)
