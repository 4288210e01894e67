"""One round at a site, top to bottom. Knows nothing of Flower.

The server proposes, the site disposes: nothing leaves before every step has passed.
"""

from __future__ import annotations

import logging
import secrets
from datetime import datetime
from importlib.metadata import version

import numpy as np

from consent.attestation import Attestation, LogState, sign_attestation
from consent.errors import ConsentChangedError
from consent.gate import Ruling
from consent.manifest import manifest_root
from consent.model import Purpose
from core_model.config import PretrainConfig
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Weighting,
    digest,
)
from core_model.training.seeds import derive_seed
from fl_client.errors import RoundRefusedError
from fl_client.local_state import LocalState
from fl_client.selection import Selection, select
from fl_client.site import Site
from fl_client.training import Trained, train

_log = logging.getLogger(__name__)


def run_round(request: RoundRequest, site: Site) -> SiteUpdate:
    """Train one round and return the signed update.

    Raises:
        RoundRefusedError: The site gives no update. Only the code may leave the site; a fault is
            written to the site's own log.
    """
    try:
        return _run_round(request, site)
    except RoundRefusedError:
        raise
    except Exception as e:
        _log.exception("round %d failed", request.plan.round)
        raise RoundRefusedError(RefusalCode.SITE_FAULT, "see the site's own log") from e


def _run_round(request: RoundRequest, site: Site) -> SiteUpdate:
    plan, started_at = request.plan, site.clock()

    # (1) Is the plan within this site's own caps, and are the weights those that it names?
    check_plan(request, site)

    # (2) Who may be used? Asked anew in every round; whoever is not is forgotten at once.
    min_subjects = max(plan.min_subjects, site.config.caps.min_subjects)
    selection = select(site.recordings, site.gate, plan, min_subjects)
    state = LocalState(site.config.state, plan.run_id, plan.purpose)
    state.purge(selection.ruling.allowed)

    # (3) Train, and keep of the shared weights only what may leave.
    labelled = site.config.labelled_aus if plan.purpose == "finetuning" else ()
    seed = derive_seed(plan.seed, site.site_id, plan.round)
    trained = train(request, selection.recordings, labelled, state, site.device, seed)

    # (4) Still allowed? A withdrawal while we trained voids the round for this site.
    try:
        ruling = site.gate.recheck(selection.ruling)
    except ConsentChangedError as e:
        raise RoundRefusedError(RefusalCode.CONSENT_CHANGED, str(e)) from e

    # (5) Say what the update rests on, and sign it.
    attestation = _attest(plan, site, selection, ruling, trained, labelled, started_at)
    update = SiteUpdate(
        site_id=site.site_id,
        arrays=trained.shared,
        attestation=sign_attestation(attestation, site.key),
        labelled_aus=labelled,
        labelled_frames=_counts(plan, trained, labelled),
    )

    # (6) Only now is the round worth remembering.
    state.save(trained.local, trained.dataset.subjects)
    return update


def check_plan(request: RoundRequest, site: Site) -> None:
    """Check a plan against the site's own caps.

    Raises:
        RoundRefusedError: It asks for more than the site allows, or the weights are other ones.
    """
    plan, caps = request.plan, site.config.caps
    num_weights = sum(int(np.prod(a.shape)) for a in request.arrays.values())
    shares_decoder = isinstance(plan.training, PretrainConfig) and plan.training.share_decoder
    refusals = {
        f"purpose {plan.purpose}": plan.purpose not in caps.purposes,
        f"{num_weights} weights": num_weights > caps.max_weights,
        "epochs per round": plan.training.optimiser.epochs_per_round > caps.max_epochs_per_round,
        "sharing the decoder": shares_decoder and not caps.may_share_decoder,
        "sending counts": plan.weighting is Weighting.FRAMES and not caps.may_send_counts,
        "AUs": plan.purpose == "finetuning"
        and not set(site.config.labelled_aus) & set(plan.action_units),
    }
    if asked := [what for what, is_too_much in refusals.items() if is_too_much]:
        raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, f"site.toml does not allow {asked}")
    if digest(request.arrays) != plan.model_in:
        raise RoundRefusedError(RefusalCode.REQUEST_DAMAGED, "weights are not those of the plan")


def _attest(
    plan: RoundPlan, site: Site, selection: Selection, ruling: Ruling, trained: Trained,
    labelled: tuple[int, ...], started_at: datetime,
) -> Attestation:  # fmt: skip
    try:
        proof = ruling.snapshot.consistency_proof(plan.tree_size)
    except ValueError as e:
        detail = "the server saw a longer consent log than this one: was it restored from a backup?"
        raise RoundRefusedError(RefusalCode.SITE_FAULT, detail) from e
    return Attestation(
        site=site.site_id,
        run_id=plan.run_id,
        round=plan.round,
        purpose=Purpose(plan.purpose),
        nonce=plan.nonce,
        model_in=plan.model_in,
        update=digest(trained.shared),
        labelled_aus=labelled,
        manifest=manifest_root(selection.assets(), secrets.token_bytes(32)).hex(),
        min_subjects=plan.min_subjects,
        consent=LogState(
            start_size=selection.ruling.snapshot.size,
            tree_head=ruling.snapshot.tree_head,
            consistency=tuple(h.hex() for h in proof),
        ),
        code=f"omote {version('omote')}",
        started_at=started_at,
        ended_at=site.clock(),
    )


def _counts(plan: RoundPlan, trained: Trained, labelled: tuple[int, ...]) -> dict[int, int]:
    """Return numbers of frames, if the plan asks for them and the caps allow it."""
    if plan.weighting is Weighting.SITE:
        return {}
    if plan.purpose == "pretraining":
        return {0: len(trained.dataset)}
    counts = trained.dataset.labelled_frames()
    return {au: counts[au] for au in labelled}
