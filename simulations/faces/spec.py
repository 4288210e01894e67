"""What a site's generated faces are like: all that the pictures depend on, nothing else."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core_model.action_units import UNION, check_aus

GENERATOR = "faces-1"  # raise the number when equal specs give other pictures

DEFAULT_BASE_RATES: dict[int, float] = {
    1: 0.25, 2: 0.22, 4: 0.25, 5: 0.18, 6: 0.32, 7: 0.32, 9: 0.18, 10: 0.28, 12: 0.35, 14: 0.28,
    15: 0.2, 17: 0.28, 20: 0.18, 23: 0.2, 24: 0.2, 25: 0.32, 26: 0.25,
}  # fmt: skip
"""Share of frames in which each AU occurs (intensity 2 and more). BP4D's, with the rare ones
raised so that a few thousand frames hold enough of each."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteLook(_Spec):
    """A site's room and camera. Angles in degrees, lengths in shares of the image side."""

    light_side: float = 0.0  # where the main light comes from, -90 (right) to 90 (left)
    light_height: float = 25.0  # above the eyes
    contrast: float = Field(0.55, ge=0, le=1)  # 0 even light, 1 one hard lamp
    exposure: float = Field(1.0, gt=0)
    warmth: float = Field(0.0, ge=-1, le=1)  # -1 blue, 1 orange
    background: Literal["plain", "gradient", "clutter"] = "plain"
    background_colour: tuple[float, float, float] = (0.55, 0.55, 0.57)
    camera_height: float = 0.0  # degrees; positive looks down on the face
    noise: float = Field(0.01, ge=0)  # deviation of the sensor noise, of 1
    blur: float = Field(0.3, ge=0)  # pixels
    crop_jitter: float = Field(0.015, ge=0)  # of the detector that cut the face out
    occlusion_rate: float = Field(0.02, ge=0, le=1)  # share of recordings with something in front


LOOKS: dict[str, SiteLook] = {
    "lab": SiteLook(contrast=0.35, background_colour=(0.62, 0.62, 0.64)),
    "clinic": SiteLook(
        light_height=55, contrast=0.25, exposure=1.12, warmth=-0.35,
        background_colour=(0.8, 0.84, 0.86), noise=0.008,
    ),
    "office": SiteLook(
        light_side=55, contrast=0.75, warmth=0.1, background="gradient",
        background_colour=(0.45, 0.48, 0.52), camera_height=8, noise=0.015,
    ),
    "factory": SiteLook(
        light_side=-40, light_height=60, contrast=0.8, exposure=0.85, warmth=0.35,
        background="clutter", background_colour=(0.3, 0.28, 0.25), camera_height=12, noise=0.018,
        blur=0.4, occlusion_rate=0.06,
    ),
    "home": SiteLook(
        light_side=25, light_height=10, contrast=0.65, exposure=0.9, warmth=0.55,
        background="clutter", background_colour=(0.5, 0.4, 0.33), camera_height=-10, noise=0.02,
        blur=0.35, crop_jitter=0.03, occlusion_rate=0.05,
    ),
}  # fmt: skip


class FaceSiteSpec(_Spec):
    """People, recordings and labels of one site."""

    name: str = Field(pattern="^[a-z0-9-]+$")  # prefix of subject and recording ids
    seed: int = Field(ge=0)  # of the whole federation
    first_person: int = Field(ge=0)  # people are numbered over the whole federation
    num_people: int = Field(gt=0)
    recordings_per_person: int = Field(2, gt=0)
    frames_per_recording: int = Field(20, gt=0)
    image_size: int = Field(64, ge=32, le=512)  # pixels
    labelled_aus: tuple[int, ...] = UNION  # columns of the label files
    base_rates: dict[int, float] = DEFAULT_BASE_RATES
    shortcut_strength: float = Field(1.5, ge=0)  # deviation of a person's logit of each rate
    recording_variation: float = Field(1.0, ge=0)  # how much light and pose differ by recording
    coder_noise: float = Field(0.02, ge=0, le=1)  # share of labels one coder got wrong by 1 or 2
    unknown_rate: float = Field(0.01, ge=0, le=1)  # share of labels the coder left open
    look: SiteLook = SiteLook()

    @field_validator("labelled_aus")
    @classmethod
    def _known(cls, aus: tuple[int, ...]) -> tuple[int, ...]:
        return check_aus(aus)

    def digest(self) -> str:
        """SHA-256 (hex) of the spec and the generator's version: equal digests, equal bytes."""
        text = f"{GENERATOR}\0{self.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()
