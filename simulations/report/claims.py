"""What the method promises, held against what was measured. A claim that fails is printed too."""

from __future__ import annotations

from dataclasses import dataclass

from simulations.results import Results

F1_GAIN = 0.02
SHARE_OF_POOLED = 0.95
GAIN_OVER_ALONE = 0.05


@dataclass(frozen=True)
class Claim:
    """A promise, the measured value and the bound it is held against."""

    key: str  # of its text
    value: float
    bound: float
    at_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the measured value keeps the promise."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def check_claims(results: Results) -> list[Claim]:
    """Return the claims about one run."""
    with_, without = results.arms["federated_iat"], results.arms["federated_without_iat"]
    pooled = results.arms["pooled"]
    single = results.best_single_site
    half_way = (without.identity_probe + with_.identity_chance) / 2
    f1 = with_.macro_f1_unseen_people
    return [
        Claim("claim_f1", f1 - without.macro_f1_unseen_people, F1_GAIN),
        Claim("claim_probe", with_.identity_probe, half_way, at_most=True),
        Claim("claim_pooled", f1 / pooled.macro_f1_unseen_people, SHARE_OF_POOLED),
        Claim("claim_alone", f1 - single["all_aus_alone"], GAIN_OVER_ALONE),
        Claim(
            "claim_alone_own",
            single["own_aus_federated"] - single["own_aus_alone"],
            GAIN_OVER_ALONE,
        ),
    ]
