"""One round at a site, top to bottom. Knows nothing of Flower.

The server proposes, the site disposes: nothing leaves before every step has passed.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from numpy.typing import NDArray

from consent.attestation import (
    Attestation,
    Counts,
    FrameCount,
    LogState,
    sign_attestation,
)
from consent.epsilon import Privacy
from consent.errors import ConsentChangedError
from consent.gate import Ruling
from consent.manifest import manifest_root
from consent.model import Purpose, Role
from consent.site_events import RoundDiscarded, RoundStarted
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Weighting,
    digest,
)
from core_model.protocol.wire import sent_as
from core_model.training.seeds import derive_seed
from fl_client.caps import check_request, trained_aus
from fl_client.errors import RoundRefusedError
from fl_client.forgetting import forget_withdrawn
from fl_client.frozen_head import frozen_head_of
from fl_client.installed_code import installed_code
from fl_client.kept_update import keep_update, same_update
from fl_client.local_state import LocalState
from fl_client.manifests import keep_manifest, signed_in
from fl_client.permission import permitted
from fl_client.private_round import RoundAccount
from fl_client.private_training import train_privately
from fl_client.record import put_on_record
from fl_client.selection import Selection, select
from fl_client.site import Site
from fl_client.training import Trained, state_name, train
from fl_client.witnessing import keep_cosignature, witness_server

_log = logging.getLogger(__name__)
Train = Callable[
    [RoundRequest, Site, Selection, tuple[int, ...], LocalState, RoundAccount], Trained
]
Pack = Callable[[RoundRequest, Trained, tuple[int, ...]], dict[str, NDArray[Any]]]
"""What leaves of a trained model: a secure sum sends a masked vector instead of the weights."""


def run_round(request: RoundRequest, site: Site, pack: Pack | None = None) -> SiteUpdate:
    """Train one round and return the signed update.

    Args:
        request: What the server asks.
        site: That answers.
        pack: Makes what leaves, in a secure sum; None: the shared weights leave as they are.

    Raises:
        RoundRefusedError: The site gives no update. Only the code may leave the site; a fault is
            written to the site's own log.
    """
    try:
        try:
            return attested_round(request, site, pack=pack)
        finally:
            # However it ended: nobody waits for the next round, which may never come.
            forget_withdrawn(site)
    except RoundRefusedError:
        raise
    except Exception as e:
        _log.exception("round %d failed", request.plan.round)
        raise RoundRefusedError(RefusalCode.SITE_FAULT, "see the site's own log") from e


def attested_round(
    request: RoundRequest, site: Site, train: Train | None = None, pack: Pack | None = None
) -> SiteUpdate:
    """Train one round by ``train`` and return the signed update; faults are raised as they are.

    Whoever calls this forgets those who withdrew afterwards, however it ended. ``pack`` is that of
    ``run_round``.

    Raises:
        RoundRefusedError: The site gives no update.
    """
    plan, started_at = request.plan, site.clock()

    # (1) Is the plan within this site's own caps, and are the weights those that it names?
    check_request(request, site.config, is_secret=pack is not None)
    if plan.previous is not None and plan.previous not in signed_in(site.config.state, plan.run_id):
        detail = f"the server names attestation {plan.previous}; this site never signed it"
        raise RoundRefusedError(RefusalCode.NOT_MY_ATTESTATION, detail)
    # Did the server's own log of rounds only grow? And what does it say of this site's?
    cosignature = witness_server(request.witnessing, site)
    keep_cosignature(request, site)

    # (2) Do the rules allow this use, who may be used, and who can still afford it? Asked anew in
    # every round.
    site = permitted(site, plan)
    account = RoundAccount(site, plan)
    min_subjects = max(plan.min_subjects, site.config.caps.min_subjects)
    if pack is None and (update := same_update(request, site, min_subjects)) is not None:
        return replace(update, cosignature=cosignature)
    selection = select(site.recordings, site.gate, plan, min_subjects, account.affordable)
    account.open_pool(selection.people())
    site.registry.append([_started(plan)], Role.OPERATOR)
    state = LocalState(site.config.state, plan.run_id, state_name(plan), plan.round)

    # (3) Train, and keep of the shared weights only what may leave.
    labelled = trained_aus(plan, site.config)
    try:
        trained = (train or _train)(request, site, selection, labelled, state, account)
        sent = (pack or _in_clear)(request, trained, labelled)

        # (4) Still allowed? A withdrawal while we trained voids the round for this site.
        ruling = site.gate.recheck_assets(selection.ruling).ruling
    except ConsentChangedError as e:
        discarded = RoundDiscarded(run_id=plan.run_id, round=plan.round, reason=str(e))
        site.registry.append([discarded], Role.OPERATOR)
        raise RoundRefusedError(RefusalCode.CONSENT_CHANGED, str(e)) from e

    # (5) Say what the update rests on, and sign it.
    salt = secrets.token_bytes(32)
    leaves = selection.leaves()
    attestation = _attest(
        plan, site, selection, ruling, trained, digest(sent), labelled, manifest_root(leaves, salt),
        started_at, account.statement(),
    )  # fmt: skip
    signed = sign_attestation(attestation, site.key)
    update = SiteUpdate(
        site_id=site.site_id,
        arrays=sent,
        attestation=signed,
        labelled_aus=labelled,
        cosignature=cosignature,
    )

    # (6) Keep it, and put it on record before it leaves. Killed in between, this site finds it when
    # it is asked again.
    keep_manifest(site.config.state, attestation, salt, leaves)
    if trained.local:
        state.save(trained.local, trained.rows)
    if pack is None:
        keep_update(request, site, update)
    put_on_record(site, attestation, leaves, signed)
    return update


def _train(
    request: RoundRequest, site: Site, selection: Selection, labelled: tuple[int, ...],
    state: LocalState, account: RoundAccount,
) -> Trained:  # fmt: skip
    plan, recordings = request.plan, selection.recordings
    if plan.privacy is None:
        seed = derive_seed(plan.seed, site.site_id, plan.round)
        return train(request, recordings, labelled, state, site.device, seed, site.frames)
    return train_privately(
        request, recordings, labelled, state, site.device, account.chance, account.charge,
        site.frames, frozen_head_of(plan, site.config),
    )  # fmt: skip


def _in_clear(
    request: RoundRequest, trained: Trained, _: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    return sent_as(trained.shared, request.arrays, request.plan.wire)


def _started(plan: RoundPlan) -> RoundStarted:
    return RoundStarted(
        run_id=plan.run_id,
        round=plan.round,
        purpose=Purpose(plan.purpose),
        model_in=plan.model_in,
    )


def _attest(
    plan: RoundPlan, site: Site, selection: Selection, ruling: Ruling, trained: Trained,
    update: str, labelled: tuple[int, ...], manifest: bytes, started_at: datetime, privacy: Privacy,
) -> Attestation:  # fmt: skip
    start, end = selection.ruling.ruling.snapshot, ruling.snapshot
    try:
        proof = end.consistency_proof(plan.tree_size)
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
        update=update,
        labelled_aus=labelled,
        manifest=manifest.hex(),
        min_subjects=plan.min_subjects,
        counts=_counts(plan, selection, trained, labelled),
        consent=LogState(
            start_head=start.tree_head,
            tree_head=end.tree_head,
            since_start=tuple(h.hex() for h in end.consistency_proof(start.size)),
            consistency=tuple(h.hex() for h in proof),
        ),
        policy=_policy(site),
        privacy=privacy,
        code=installed_code(),
        previous=plan.previous,
        started_at=started_at,
        ended_at=ruling.at,  # what was asked last, before this was signed
    )


def _policy(site: Site) -> str | None:
    """Return the digest of the rules in force at the site."""
    policies = site.registry.state().policies
    return policies[-1].event.sha256 if policies else None


def _counts(
    plan: RoundPlan, selection: Selection, trained: Trained, labelled: tuple[int, ...]
) -> Counts | None:
    """Return what the plan weights by, if it does. The caps were checked before."""
    if plan.weighting is Weighting.SITE:
        return None
    if plan.purpose == "pretraining":
        counted = {0: len(trained.dataset)}
    else:
        frames = trained.dataset.labelled_frames()
        counted = {au: frames[au] for au in labelled}
    return Counts(
        recordings=len(selection.leaves()),
        frames=tuple(FrameCount(au=au, frames=n) for au, n in counted.items()),
    )
