"""Digests that name what ran: the settings of a federation, and the plan of a round."""

from __future__ import annotations

import hashlib
import json

from core_model.protocol.messages import RoundPlan
from fl_server.config import FederationConfig

_OF_ONE_SITE = {"nonce", "tree_size", "previous", "ledger_size", "ledger_root"}
# The initial weights are named by the first round; what is measured changes no round.
_OF_ONE_MACHINE = {"initial", "output", "link", "evaluation"}


def config_digest(config: FederationConfig) -> str:
    """Return SHA-256 (hex) over all settings but where files lie and programs listen."""
    return _digest(config.model_dump(mode="json", exclude=_OF_ONE_MACHINE))


def plan_digest(plan: RoundPlan) -> str:
    """Return SHA-256 (hex) over what a round asks of all sites."""
    return _digest(plan.model_dump(mode="json", exclude=_OF_ONE_SITE))


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
