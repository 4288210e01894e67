"""``secure_sum`` of a stage in federation.toml: updates are added up and never seen alone."""

from __future__ import annotations

from pydantic import Field

from core_model.config import Settings
from core_model.secure_sum.terms import MAX_FRAMES, MAX_SITES, SecureTerms
from core_model.secure_sum.threshold import is_above_half
from fl_server.robust import RobustSettings

SUMS = ("mean", "clipped_mean")


class SecureSumSettings(Settings):
    """How many sites must stay; sites refuse a number that is too low for them."""

    threshold: int = Field(ge=2, le=MAX_SITES)  # sites that must stay until the sum is unmasked
    max_frames: int | None = Field(
        None, ge=1, le=MAX_FRAMES
    )  # if weighted by frames: more count as

    def check_fits(self, rule: RobustSettings, max_update_norm: float | None) -> None:
        """Check what else a stage asks for.

        Raises:
            ValueError: It needs to see single updates, or sets no bound on them.
        """
        if rule.rule not in SUMS:
            raise ValueError(
                f"secure_sum: {rule.rule} needs to see single updates, a secure sum shows none; "
                f"use aggregation {' or '.join(SUMS)}, or no secure_sum"
            )
        if rule.rule == "mean" and max_update_norm is None:
            raise ValueError(
                "secure_sum: sites clip what they add, so set max_update_norm or clipped_mean"
            )

    def check_weighting(self, stage: int, *, by_frames: bool) -> None:
        """Check that weights are bounded.

        Raises:
            ValueError: They are not.
        """
        if by_frames != (self.max_frames is not None):
            raise ValueError(
                f"stages: secure_sum of stage {stage}: expected max_frames where weighting is "
                "frames, and nowhere else"
            )

    def check_sites(self, stage: int, num_sites: int) -> None:
        """Check the threshold against the sites that will be asked.

        Raises:
            ValueError: It is out of reach, or so low that sites refuse it.
        """
        if not is_above_half(num_sites, self.threshold) or num_sites > MAX_SITES:
            raise ValueError(
                f"stages: secure_sum of stage {stage}: expected a threshold above half of the "
                f"{num_sites} sites that are asked (at most {MAX_SITES}), got {self.threshold}"
            )

    def terms(self, rule: RobustSettings, max_update_norm: float | None) -> SecureTerms:
        """Return what the plan says."""
        bound = rule.clip_norm if rule.rule == "clipped_mean" else max_update_norm
        assert bound is not None, "checked with the settings"
        return SecureTerms(threshold=self.threshold, clip_norm=bound, max_frames=self.max_frames)
