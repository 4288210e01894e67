"""Which weights train under a privacy plan. The rest stays as received, and is not sent.

Noise falls on every weight that trains: with few people, few weights are all that pays.
"""

from __future__ import annotations

from core_model.privacy.plan import PrivacyPlan
from core_model.schema import ParameterSchema, ParameterSpec, Role


def trainable(schema: ParameterSchema, plan: PrivacyPlan) -> tuple[str, ...]:
    """Return the names of the weights that train, in the order of ``schema``.

    The AU head trains in every scope, and a decoder too: it stays at the site, but it learns from
    all people there and teaches the encoder, so it must learn under the same noise. An identity
    head is never in the answer; stored positions never train.

    Raises:
        ValueError: The scope leaves nothing of the encoder to pretrain, or asks for adapters that
            the encoder does not have.
    """
    roles = {p.role for p in schema.parameters}
    if plan.scope == "head" and Role.AU_HEAD not in roles:
        raise ValueError("scope head trains the AU head alone, and pretraining has none")
    if plan.scope == "lora" and Role.ADAPTER not in roles:
        raise ValueError(
            "scope lora trains adapters, and this encoder has none: omote-model adapt adds them"
        )
    depth = 1 + max((_block(p.name) for p in schema.parameters), default=-1)
    return tuple(p.name for p in schema.parameters if _trains(p, plan, depth))


def _trains(weight: ParameterSpec, plan: PrivacyPlan, depth: int) -> bool:
    if weight.role is Role.ADAPTER:
        return plan.scope in ("lora", "full")
    if weight.role is not Role.ENCODER:
        stored = weight.name.endswith("positions.table")
        return weight.role is not Role.IDENTITY_HEAD and not stored
    if weight.name.endswith("positions.table") or plan.scope in ("head", "lora"):
        return False
    if plan.scope == "norms":
        return len(weight.shape) == 1  # norms, and the biases of all layers (BitFiT)
    if plan.scope == "last_k":
        above = weight.name.startswith(("encoder.norm.", "encoder.pool."))
        return above or _block(weight.name) >= max(depth - plan.last_k, 0)
    return True


def _block(name: str) -> int:
    """Return the number of the encoder's block that holds a weight, -1 if none does."""
    return int(name.split(".")[2]) if name.startswith("encoder.blocks.") else -1
