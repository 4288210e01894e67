"""How a detector is brought to a new site without labels, and the record of it. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core_model.config import Settings

Trained = Literal["all", "bottlenecks", "norms"]


class AdaptationConfig(Settings):
    """Self-training: the detector's own confident answers are the labels.

    For each AU the most confident share of the frames found, and as large a share of those not
    found, become labels (class-balanced self-training, Zou et al., arXiv 1810.07911): with one
    threshold for both, a rare AU would never be confident. The rest stays unknown.
    """

    trained: Trained = "bottlenecks"  # which weights may move; the AU head moves with "all" alone
    width: int = Field(16, gt=0)  # of a bottleneck
    scale: float = Field(0.1, gt=0)  # AdaptFormer's s
    confident_share: float = Field(0.5, gt=0, le=1)
    learning_rate: float = Field(3e-4, gt=0)
    batch_size: int = Field(32, gt=1)
    epochs: int = Field(4, gt=0)
    relabel_every: int = Field(2, gt=0)  # epochs between two lots of labels from the model itself


class Adaptation(Settings):
    """What was done to a checkpoint at a site; stands in its manifest."""

    config: AdaptationConfig
    seed: int
    threshold: float  # from which probability an AU counted as found
    num_subjects: int = Field(gt=0)
    num_frames: int = Field(gt=0)
    may_leave_site: bool = False  # it learned from faces whose owners agreed to this site alone
