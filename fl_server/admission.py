"""Every check that an update must pass before it counts. Knows keys and heads, never a person."""

from __future__ import annotations

from consent.attestation import Attestation
from consent.attestation_check import Expected, Seen, verify_attestation
from consent.errors import AttestationError, ConsentError, LogRolledBackError
from consent.keys import VerifierKey
from consent.model import Purpose
from consent.note import TreeHead
from core_model.norms import change_norm
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    SiteUpdate,
    Weighting,
    digest,
)
from core_model.protocol.secure import MaskedUpdate
from core_model.protocol.wire import received_as
from core_model.schema import Arrays, ParameterSchema, SchemaError
from fl_server.config import Demands, EnrolledSite
from fl_server.errors import UpdateRefusedError
from fl_server.noise_admission import check_noise

MAX_FRAMES = 10_000_000
_CODES = {
    "wrong_update": RefusalCode.WRONG_UPDATE,
    "too_few_subjects": RefusalCode.TOO_FEW_SUBJECTS,
    "broken_chain": RefusalCode.BROKEN_CHAIN,
    "wrong_policy": RefusalCode.WRONG_RULES,
    "wrong_code": RefusalCode.WRONG_RULES,
    "wrong_epsilon": RefusalCode.WRONG_EPSILON,
    "ledger_restarted": RefusalCode.LEDGER_RESTARTED,
}  # all others are about another round
Statement = SiteUpdate | MaskedUpdate


def admit(
    update: SiteUpdate,
    plan: RoundPlan,
    site: EnrolledSite,
    schema: ParameterSchema,
    demands: Demands,
    seen: Seen | None,
    model_in: Arrays,
    last_head: TreeHead | None = None,
) -> tuple[Attestation, Seen, Arrays]:
    """Check an update; return its attestation, what to remember, and the weights that it means.

    ``model_in`` holds the weights that the plan names; ``last_head`` is that of the site's consent
    log that its proof of growth must begin from, None: the one in ``seen``.

    The caller has found ``site`` among the enrolled ones. What no check here can prove is that the
    site trained on what its manifest says: that takes an audit at the site.

    Raises:
        UpdateRefusedError: A check failed.
    """
    # (1) from the site that was asked
    check_site(update, site)
    # (2) exactly the shared weights, finite
    try:
        arrays = received_as(update.arrays, model_in, plan.wire)
        schema.check(arrays)
    except SchemaError as e:
        raise UpdateRefusedError(RefusalCode.WRONG_WEIGHTS, str(e)) from e
    # (3) no further from the model that came in than the plan allows
    _check_norm(arrays, plan, model_in)
    update_digest = digest(update.arrays)
    statement = check_statement(update, update_digest, plan, site, demands, seen, last_head)
    return *statement, arrays


def check_site(update: Statement, site: EnrolledSite) -> None:
    """Check that an answer is of the site that was asked.

    Raises:
        UpdateRefusedError: It is not.
    """
    if update.site_id != site.site_id:
        raise UpdateRefusedError(RefusalCode.NOT_ENROLLED, f"answers for {update.site_id[:64]!r}")


def check_statement(
    update: Statement,
    update_digest: str,
    plan: RoundPlan,
    site: EnrolledSite,
    demands: Demands,
    seen: Seen | None,
    last_head: TreeHead | None = None,
) -> tuple[Attestation, Seen]:
    """Check what a site says about what it sent; return it and what to remember.

    Raises:
        UpdateRefusedError: A check failed.
    """
    # (4) signed by the site, about this round and these bytes, on a consent log that only grew
    attestation, now_seen = _check_attestation(
        update, update_digest, plan, site, demands, seen, last_head
    )
    # (5) for AUs that the site is enrolled for, and counted as asked
    _check_labels(update, plan, site, attestation)
    # (6) under the noise that the plan asks for
    check_noise(attestation, plan, demands)
    return attestation, now_seen


def _check_norm(arrays: Arrays, plan: RoundPlan, model_in: Arrays) -> None:
    if plan.max_update_norm is None:
        return
    norm = change_norm(model_in, arrays)
    if not norm <= plan.max_update_norm:
        detail = f"the change has norm {norm:.4g}, the plan allows {plan.max_update_norm:g}"
        raise UpdateRefusedError(RefusalCode.TOO_LARGE, detail)


def _check_attestation(
    update: Statement,
    update_digest: str,
    plan: RoundPlan,
    site: EnrolledSite,
    demands: Demands,
    seen: Seen | None,
    last_head: TreeHead | None,
) -> tuple[Attestation, Seen]:
    expected = Expected(
        site=site.site_id,
        run_id=plan.run_id,
        round=plan.round,
        purpose=Purpose(plan.purpose),
        nonce=plan.nonce,
        model_in=plan.model_in,
        update=update_digest,
        min_subjects=plan.min_subjects,
        tree_size=plan.tree_size,
        tree_head=last_head,
        policy=demands.policy,
        code=frozenset(demands.code),
        needs_noise=demands.needs_noise,
        max_epsilon=demands.max_epsilon,
    )
    try:
        return verify_attestation(
            update.attestation,
            site_key=VerifierKey.parse(site.key),
            log_key=VerifierKey.parse(site.log_key),
            expected=expected,
            seen=seen,
        )
    except AttestationError as e:
        raise UpdateRefusedError(_CODES.get(e.code, RefusalCode.WRONG_ROUND), str(e)) from e
    except LogRolledBackError as e:
        raise UpdateRefusedError(RefusalCode.LOG_NOT_GROWN, str(e)) from e
    except ConsentError as e:
        raise UpdateRefusedError(RefusalCode.BAD_SIGNATURE, str(e)) from e


def _check_labels(
    update: Statement, plan: RoundPlan, site: EnrolledSite, attestation: Attestation
) -> None:
    labelled = set(update.labelled_aus)
    if update.labelled_aus != attestation.labelled_aus or not labelled <= set(site.labelled_aus):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "AUs that the site is not enrolled for")
    if plan.purpose == "finetuning" and not labelled:
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "no AU was trained")
    counted = labelled if plan.purpose == "finetuning" else {0}
    wanted = counted if plan.weighting is Weighting.FRAMES else set()
    _check_counts(attestation, wanted)


def _check_counts(attestation: Attestation, wanted: set[int]) -> None:
    """Check the counts: those that the plan weights by, each once, and no others."""
    if (attestation.counts is not None) != bool(wanted):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "counts of frames are not as asked")
    if attestation.counts is None:
        return
    counts = attestation.counts.by_au()
    is_once = len(counts) == len(attestation.counts.frames)
    if not is_once or set(counts) != wanted or max(counts.values()) > MAX_FRAMES:
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "counts of frames are not as asked")
    if not any(counts.values()):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "no frame was counted")
