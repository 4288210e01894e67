"""Every check that an update must pass before it counts. Knows keys and heads, never a person."""

from __future__ import annotations

from dataclasses import dataclass

from consent.attestation import Attestation, Expected, verify_attestation
from consent.errors import (
    AttestationError,
    BadSignatureError,
    ConsentError,
    LogRolledBackError,
)
from consent.keys import VerifierKey
from consent.model import Purpose
from consent.note import TreeHead
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    SiteUpdate,
    Weighting,
    digest,
)
from core_model.schema import ParameterSchema, SchemaError
from fl_server.config import EnrolledSite
from fl_server.errors import UpdateRefusedError

MAX_FRAMES = 10_000_000
_CODES = {
    "wrong_update": RefusalCode.WRONG_UPDATE,
    "too_few_subjects": RefusalCode.TOO_FEW_SUBJECTS,
}  # all others are about another round


@dataclass(frozen=True)
class Admitted:
    """What the server keeps of an update that passed."""

    attestation: Attestation
    tree_head: TreeHead  # to be remembered: the next one must extend it


def admit(
    update: SiteUpdate,
    plan: RoundPlan,
    site: EnrolledSite,
    schema: ParameterSchema,
    last_head: TreeHead | None,
) -> Admitted:
    """Check an update of ``site`` for ``plan``.

    The caller has found ``site`` among the enrolled ones. What no check here can prove is that the
    site trained on what its manifest says: that takes an audit at the site.

    Raises:
        UpdateRefusedError: A check failed.
    """
    # (1) from the site that was asked
    if update.site_id != site.site_id:
        raise UpdateRefusedError(RefusalCode.NOT_ENROLLED, f"answers for {update.site_id[:64]!r}")
    # (2) exactly the shared weights, finite
    try:
        schema.check(update.arrays)
    except SchemaError as e:
        raise UpdateRefusedError(RefusalCode.WRONG_WEIGHTS, str(e)) from e
    # (3) signed by the site, about this round and these bytes, on a consent log that only grew
    attestation, head = _check_attestation(update, plan, site, last_head)
    # (4) of which the round saw no older state than the server
    start = attestation.consent.start_size
    if not plan.tree_size <= start <= head.size:
        detail = f"log of {start} entries at the start, {plan.tree_size} before, {head.size} after"
        raise UpdateRefusedError(RefusalCode.LOG_NOT_GROWN, detail)
    # (5) for AUs that the site is enrolled for, and counted as asked
    _check_labels(update, plan, site, attestation)
    return Admitted(attestation, head)


def _check_attestation(
    update: SiteUpdate, plan: RoundPlan, site: EnrolledSite, last_head: TreeHead | None
) -> tuple[Attestation, TreeHead]:
    expected = Expected(
        site=site.site_id,
        run_id=plan.run_id,
        round=plan.round,
        purpose=Purpose(plan.purpose),
        nonce=plan.nonce,
        model_in=plan.model_in,
        update=digest(update.arrays),
        min_subjects=plan.min_subjects,
    )
    try:
        return verify_attestation(
            update.attestation,
            site_key=VerifierKey.parse(site.key),
            log_key=VerifierKey.parse(site.log_key),
            expected=expected,
            last_head=last_head,
        )
    except AttestationError as e:
        raise UpdateRefusedError(_CODES.get(e.code, RefusalCode.WRONG_ROUND), str(e)) from e
    except LogRolledBackError as e:
        raise UpdateRefusedError(RefusalCode.LOG_NOT_GROWN, str(e)) from e
    except (BadSignatureError, ConsentError) as e:
        raise UpdateRefusedError(RefusalCode.BAD_SIGNATURE, str(e)) from e


def _check_labels(
    update: SiteUpdate, plan: RoundPlan, site: EnrolledSite, attestation: Attestation
) -> None:
    labelled = set(update.labelled_aus)
    if update.labelled_aus != attestation.labelled_aus or not labelled <= set(site.labelled_aus):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "AUs that the site is not enrolled for")
    if plan.purpose == "finetuning" and not labelled:
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "no AU was trained")
    counted = labelled if plan.purpose == "finetuning" else {0}
    wanted = counted if plan.weighting is Weighting.FRAMES else set()
    counts = update.labelled_frames
    if set(counts) != wanted or not all(0 <= n <= MAX_FRAMES for n in counts.values()):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "counts of frames are not as asked")
    if counts and not any(counts.values()):
        raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "no frame was counted")
