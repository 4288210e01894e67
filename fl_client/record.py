"""An update in the site's consent log: once, and before it leaves."""

from __future__ import annotations

from collections.abc import Iterable

from consent.attestation import Attestation
from consent.manifest import Leaf
from consent.model import Role
from consent.site_events import RoundSigned
from fl_client.site import Site


def put_on_record(
    site: Site, attestation: Attestation, leaves: Iterable[Leaf], envelope: bytes
) -> None:
    """Write down what was signed, and by which entries of the log it was allowed."""
    record = RoundSigned(
        run_id=attestation.run_id,
        round=attestation.round,
        purpose=attestation.purpose,
        model_in=attestation.model_in,
        update=attestation.update,
        manifest=attestation.manifest,
        entries=tuple(sorted({entry for leaf in leaves for entry in leaf.entries})),
        attestation=envelope.decode(),
    )
    site.registry.append([record], Role.OPERATOR)


def is_on_record(site: Site, envelope: bytes) -> bool:
    """Does the log hold this very update?"""
    text = envelope.decode()
    return any(r.event.attestation == text for r in reversed(site.registry.state().rounds))
