"""What a server says about a secure sum beforehand. Every site signs it with its keys."""

from __future__ import annotations

from pydantic import Field

from core_model.config import Settings

MAX_SITES = 100
SITE_PARTS = 1 << 24  # of the site that weighs most; MAX_SITES times as much stays below 2**31
MAX_FRAMES = 20_000_000


class SecureTerms(Settings):
    """How a round's updates are added up in secret."""

    threshold: int = Field(ge=2, le=MAX_SITES)  # sites that must stay until the sum is unmasked
    clip_norm: float = Field(gt=0)  # L2: a site shortens a longer change before it is masked
    max_frames: int | None = Field(None, ge=1, le=MAX_FRAMES)  # weighted by frames: more count as

    @property
    def most_parts(self) -> int:
        """The weight of a site is a whole number of parts, at most so many."""
        return SITE_PARTS if self.max_frames is None else self.max_frames
