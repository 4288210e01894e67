"""The identity head of public people that a private plan names: the site's own copy of it."""

from __future__ import annotations

from core_model.frozen_head import WEIGHT, FrozenHeadError, read_frozen_head
from core_model.protocol.messages import RefusalCode, RoundPlan, digest
from core_model.schema import Arrays
from fl_client.config import SiteConfig
from fl_client.errors import RoundRefusedError


def frozen_head_of(plan: RoundPlan, config: SiteConfig) -> Arrays | None:
    """Return the head that a plan names, from the files of site.toml; None: it asks for none.

    Raises:
        RoundRefusedError: PLAN_NOT_ALLOWED: this site has no such head, it is damaged, or of
            another encoder.
    """
    if plan.privacy is None or plan.privacy.identity_head != "frozen":
        return None
    try:
        heads = [read_frozen_head(path) for path in config.frozen_heads]
    except FrozenHeadError as e:
        raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, str(e)) from e
    for head in heads:
        if digest(head) == plan.privacy.frozen_head:
            if head[WEIGHT].shape[1] == plan.encoder.embed_dim:
                return head
            detail = f"the frozen head is of features of {head[WEIGHT].shape[1]} numbers"
            raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, detail)
    named = (plan.privacy.frozen_head or "nothing")[:12]
    detail = f"the plan names the frozen head {named}, which is not in site.toml (frozen_heads)"
    raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, detail)
