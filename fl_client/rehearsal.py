"""A dry run: a whole round against a recorded request, of which nothing is kept and nothing sent.

It is the same code as in a round. Only the log is told nothing, and the weights that stay at the
site start fresh in a folder of their own, which is deleted.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from consent.events import ConsentEvent
from consent.keys import SigningKey
from consent.model import Role
from consent.registry import Registry
from core_model.protocol.messages import SiteUpdate
from core_model.protocol.records import decode_request, read_records
from fl_client.recovery import REHEARSAL
from fl_client.round import run_round
from fl_client.site import Site


class _Unrecorded(Registry):
    """Consent as it stands. What would be put on record is not."""

    def append(self, events: Sequence[ConsentEvent], role: Role | SigningKey) -> range:  # noqa: ARG002
        """Return where the entries would stand."""
        size = self.snapshot().size
        return range(size, size + len(events))


def rehearse(request: Path, site: Site) -> SiteUpdate:
    """Run the round of a recorded request; return the update that would have been sent.

    Raises:
        RecordError: The file holds no request.
        RoundRefusedError: The site would refuse.
        OSError: The file cannot be read.
    """
    asked = decode_request(read_records(request.read_bytes()))
    state = site.config.state
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=REHEARSAL, dir=state) as scratch:
        _copy_signed(state, Path(scratch))
        registry = _Unrecorded(site.registry.folder, site.clock)
        rehearsing = dataclasses.replace(
            site,
            config=site.config.model_copy(update={"state": Path(scratch)}),
            registry=registry,
            gate=registry.gate,
        )
        return run_round(asked, rehearsing)


def _copy_signed(state: Path, scratch: Path) -> None:
    """Copy what the site signed and spent before: a plan builds on it."""
    for kept in (*state.glob("*.jsonl"), *state.glob("*.key")):
        shutil.copy(kept, scratch / kept.name)
    for manifests in state.glob("*/manifests.jsonl"):
        folder = scratch / manifests.parent.name
        folder.mkdir(mode=0o700)
        shutil.copy(manifests, folder / manifests.name)
