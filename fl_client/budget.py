"""Who can still afford a round: the ledger's account against people's consent and the site's caps.

Decided from histories alone, before anybody's frames are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core_model.privacy.accounting import Kind, Spend
from core_model.privacy.ledger import Ledger
from core_model.privacy.plan import PrivacyPlan
from fl_client.config import Caps


def can_afford(
    people: Iterable[str],
    plan: PrivacyPlan | None,
    ledger: Ledger,
    limits: Mapping[str, float],
    caps: Caps,
) -> frozenset[str]:
    """Return the people whose budget is not exceeded after one more round.

    A person's budget is the smaller of ``max_epsilon`` in the consent and in the site's caps. A
    round that promises nothing about a person, without noise or by frames, costs more than any
    budget: nobody whose consent names one takes part.

    Args:
        people: Whose consent covers the purpose.
        plan: Of the round.
        ledger: What was spent.
        limits: ``max_epsilon`` of those whose consent names one.
        caps: Of the site.
    """
    asked = sorted(people)
    if plan is None or plan.unit != "subject":
        return frozenset(asked) - limits.keys()
    planned = Spend(Kind(plan.noise_multiplier, plan.sampling_rate), plan.steps_per_round)
    after = ledger.epsilons(asked, delta_of(plan, ledger), planned).tolist()
    return frozenset(
        person
        for person, epsilon in zip(asked, after, strict=True)
        if epsilon <= min(limits.get(person, caps.max_epsilon), caps.max_epsilon)
    )


def delta_of(plan: PrivacyPlan, ledger: Ledger) -> float:
    """Return the smallest delta ever charged for: with one delta, epsilon never falls."""
    return min(plan.delta, ledger.delta or 1.0)
