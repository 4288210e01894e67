"""What a released model says about itself, inside its own file. No torch.

The card travels in the metadata of the ONNX file, so nobody can have the weights without it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from core_model.action_units import check_aus
from core_model.config import Settings
from core_model.release.privacy_facts import PrivacyFacts

CARD_KEY = "omote_card"  # of the ONNX metadata; the whole card as JSON
NUM_BINS = 10  # of every histogram
Precision = Literal["fp32", "fp16", "int8"]

PROHIBITED_USES: tuple[str, ...] = (
    "inferring emotions of people at work or in education "
    "(Regulation (EU) 2024/1689, article 5(1)(f))",
    "hiring, credit, insurance, policing, border control or lie detection",
    "medical decisions",
    "recognising people, or linking recordings of one person",
    "watching people who did not agree",
)


class CardError(Exception):
    """A file carries no card of Omote, or a damaged one."""


class CropFacts(Settings):
    """The recipe by which faces must be cut out; see ``core_model.data.face``."""

    name: str
    version: int
    size: int = Field(gt=0, le=2048)  # pixels a side


class FitFacts(Settings):
    """On whom thresholds and temperature were chosen. Numbers only."""

    num_people: int
    num_frames: int
    macro_f1: float  # of fp32, at the thresholds
    calibration_error: float  # of the calibrated probabilities


class Statistics(Settings):
    """Histograms over the people of ``FitFacts``, to notice drift. Counts in ``NUM_BINS`` bins."""

    probabilities: dict[int, tuple[int, ...]]  # of each AU, over [0, 1]
    brightness: tuple[int, ...]  # mean of a crop, over [0, 255]
    contrast: tuple[int, ...]  # deviation of a crop, over [0, 128]


class ReleaseCard(Settings):
    """Everything that a user of the model has to know."""

    format: Literal[1] = 1
    purpose: str = Field(min_length=10)  # what it was made for
    card: str = Field(min_length=40)  # the model card, Markdown
    prohibited_uses: tuple[str, ...] = Field(PROHIBITED_USES, min_length=1)
    licence: str = Field(min_length=1)  # with what it means
    weights: str = Field(pattern="^[0-9a-f]{64}$")  # digest of the checkpoint's weights
    run_id: str | None = None
    round: int = Field(0, ge=0)
    precision: Precision
    opset: int = Field(ge=17)
    action_units: tuple[int, ...]
    crop: CropFacts
    thresholds: dict[int, float]
    threshold_policy: str
    temperature: float = Field(1.0, gt=0)  # logits are divided by it before the sigmoid
    neutral_logits: dict[int, float] = Field({})  # mean over frames without any AU; empty: unknown
    fit: FitFacts | None = None  # None: thresholds and temperature are not fitted to anyone
    f1_loss: dict[int, float] = Field({})  # fp32 minus this precision; empty: not measured
    max_difference: float = Field(ge=0)  # largest |logit - that of torch| when exported
    statistics: Statistics | None = None
    privacy: PrivacyFacts | None = None  # None: no gate has looked at it (omote-server release)

    @model_validator(mode="after")
    def _fits(self) -> ReleaseCard:
        if check_aus(self.action_units) != self.action_units:
            raise ValueError("action_units: not in the usual order")
        if set(self.thresholds) != set(self.action_units):
            raise ValueError("thresholds: expected one for each of action_units")
        if not all(0 < t < 1 for t in self.thresholds.values()):
            raise ValueError("thresholds: expected numbers between 0 and 1")
        if self.neutral_logits and set(self.neutral_logits) != set(self.action_units):
            raise ValueError("neutral_logits: expected one for each of action_units")
        return self

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the file: the card, and its main points in plain words."""
        plain = self.privacy.text if self.privacy is not None else {}
        return {
            **{f"privacy_{language}": text for language, text in plain.items()},
            CARD_KEY: self.model_dump_json(),
            "purpose": self.purpose,
            "prohibited_uses": "\n".join(self.prohibited_uses),
            "licence": self.licence,
            "model_card": self.card,
        }


def parse_card(metadata: dict[str, str]) -> ReleaseCard:
    """Read the card from the metadata of a file.

    Raises:
        CardError: There is none, or it is damaged.
    """
    if CARD_KEY not in metadata:
        raise CardError("no card: not a model that omote-model export wrote")
    try:
        return ReleaseCard.model_validate_json(metadata[CARD_KEY])
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise CardError(f"the card is damaged: {where}: {first['msg']}") from e
