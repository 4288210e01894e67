"""Is what a site says about its noise what the plan asked for? Its signature was checked before."""

from __future__ import annotations

from consent.attestation import Attestation
from consent.epsilon import GaussianNoise
from core_model.privacy.plan import PrivacyPlan
from core_model.protocol.messages import RefusalCode, RoundPlan
from fl_server.config import Demands
from fl_server.errors import UpdateRefusedError

TOLERANCE = 1e-9  # a site writes decimals with twelve digits


def check_noise(attestation: Attestation, plan: RoundPlan, demands: Demands) -> None:
    """Check the mechanism that a site attests against the plan.

    The noise itself cannot be seen: that takes an audit at the site.

    Raises:
        UpdateRefusedError: Another mechanism, fewer steps than asked for, seeded noise, or no
            ledger.
    """
    asked, stated = plan.privacy, attestation.privacy
    if asked is None:
        return
    if not isinstance(stated, GaussianNoise):
        raise _refused("the plan asks for noise, the attestation says that there is none")
    if stated.ledger is None:
        raise _refused("the figures come from no ledger")
    if stated.is_simulation and not demands.allows_simulation:
        raise _refused("the noise was seeded; it protects nobody outside a simulation")
    wrong = [name for name, (is_, want) in _figures(asked, stated).items() if is_ != want]
    if wrong:
        raise _refused(f"not as the plan says: {', '.join(wrong)}")
    if float(stated.delta) > asked.delta * (1 + TOLERANCE):
        raise _refused(f"delta: expected at most {asked.delta}, got {stated.delta}")


def _figures(asked: PrivacyPlan, stated: GaussianNoise) -> dict[str, tuple[object, object]]:
    """Return what stands in the attestation and what should."""
    numbers = {
        "noise_multiplier": (float(stated.noise_multiplier), asked.noise_multiplier),
        "clip_norm": (float(stated.max_grad_norm), asked.clip_norm),
        "sampling_rate": (float(stated.sample_rate), asked.sampling_rate),
    }
    return {
        "unit": (stated.unit, asked.unit),
        "steps": (stated.steps, asked.steps_per_round),
        **{n: (abs(is_ - want) <= TOLERANCE, True) for n, (is_, want) in numbers.items()},
    }


def _refused(why: str) -> UpdateRefusedError:
    return UpdateRefusedError(RefusalCode.WRONG_EPSILON, why)
