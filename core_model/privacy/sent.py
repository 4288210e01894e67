"""Which weights come back from a site. What a plan freezes everybody has already."""

from __future__ import annotations

from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.scope import trainable
from core_model.schema import ParameterSchema


def sent_back(shared: ParameterSchema, plan: PrivacyPlan | None) -> ParameterSchema:
    """Return the shared weights that an update holds.

    Args:
        shared: Weights that may leave a site.
        plan: Of the stage; None: all of them train.
    """
    if plan is None:
        return shared
    names = set(trainable(shared, plan))
    return ParameterSchema(parameters=tuple(p for p in shared.parameters if p.name in names))
