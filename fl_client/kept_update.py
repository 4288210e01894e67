"""The update that a site signed last in a run. Asked for the same again, it sends the same again.

An answer that was lost on its way, or with a server that crashed, would else cost a second
training, and in a private round the same people's budget a second time. It learned from people: it
goes when the consent of one of them ends, and when the next one is signed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from consent.attestation import Attestation, open_attestation
from consent.errors import ConsentError
from consent.manifest import Leaf
from core_model.durable import put_in_place
from core_model.protocol.messages import RoundPlan, RoundRequest, SiteUpdate, digest
from fl_client.manifests import leaves_of
from fl_client.record import is_on_record, put_on_record
from fl_client.selection import select
from fl_client.site import Site

_log = logging.getLogger(__name__)
FILE = "answer.safetensors"


def keep_update(request: RoundRequest, site: Site, update: SiteUpdate) -> None:
    """Keep an update that was signed. A simulation, which shows no log, loses no answer."""
    if request.witnessing is None:
        return
    path = _path(site, request.plan.run_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.touch(mode=0o600)
    about = {"plan": _digest_of(request.plan), "attestation": update.attestation.decode()}
    save_file(dict(update.arrays), draft, metadata=about)
    draft.chmod(0o600)
    put_in_place(draft, path)


def same_update(request: RoundRequest, site: Site, min_subjects: int) -> SiteUpdate | None:
    """Return what was signed for this very request, if all of it may still be used; else None.

    It is on record when this returns, whenever the worker was killed.

    Raises:
        RoundRefusedError: Nobody agrees any more, or too few people.
    """
    path = _path(site, request.plan.run_id)
    about = _about(path) if request.witnessing is not None and path.exists() else None
    if about is None or about.get("plan") != _digest_of(request.plan):
        return None
    signed = _signed(about, site)
    if signed is None:
        return None
    # Budgets are not asked: nothing new is drawn from anybody, and this was charged before.
    now = select(site.recordings, site.gate, request.plan, min_subjects).leaves()
    arrays = load_file(path)
    if not set(signed.leaves) <= set(now) or digest(arrays) != signed.attestation.update:
        return None
    _log.info("round %d was answered before: the same again", request.plan.round)
    envelope = about["attestation"].encode()
    if not is_on_record(site, envelope):
        put_on_record(site, signed.attestation, signed.leaves, envelope)
    return SiteUpdate(
        site_id=site.site_id,
        arrays=arrays,
        attestation=envelope,
        labelled_aus=signed.attestation.labelled_aus,
    )


def forget_updates(site: Site) -> None:
    """Delete kept updates that learned from anyone who may not be used now."""
    for path in site.config.state.glob(f"*/{FILE}"):
        about = _about(path)
        signed = _signed(about, site) if about is not None else None
        if signed is None or not _is_covered(signed, site):
            path.unlink()


@dataclass(frozen=True)
class _Signed:
    """What was signed about an update, and what it was made from."""

    attestation: Attestation
    leaves: tuple[Leaf, ...]


def _signed(about: Mapping[str, str], site: Site) -> _Signed | None:
    """Return it; None if it is not by today's key, or the site did not keep its manifest."""
    try:
        opened = open_attestation(about["attestation"].encode(), site.key.verifier)
    except (ConsentError, KeyError):
        return None
    leaves = leaves_of(site.config.state, opened.attestation.run_id, opened.digest)
    return None if leaves is None else _Signed(opened.attestation, leaves)


def _is_covered(signed: _Signed, site: Site) -> bool:
    """Do all entries of the consent log that allowed an update still allow it?"""
    subjects = {r.subject_id for r in site.recordings}
    assets = {leaf.asset.hex() for leaf in signed.leaves}
    ruling = site.gate.rule_assets(assets, signed.attestation.purpose, subjects).ruling
    return {e for leaf in signed.leaves for e in leaf.entries} <= set(ruling.entries.values())


def _about(path: Path) -> dict[str, str] | None:
    """Return what the file says of its weights; None if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as f:
            return dict(f.metadata() or {})
    except (SafetensorError, OSError) as e:
        _log.warning("%s is damaged (%s): asked for again, the round is trained again", path, e)
        return None


def _path(site: Site, run_id: str) -> Path:
    return site.config.state / run_id / FILE


def _digest_of(plan: RoundPlan) -> str:
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()
