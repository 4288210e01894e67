"""Delete what a site keeps about people who took their consent back: in every run, at once.

Kept are rows of the identity head (of those who agreed to fine-tuning), face crops (of those who
agree to anything), and what a training at the site has learned so far (of those who agree to its
purpose).
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from consent.hooks import install_hook
from consent.model import Purpose
from fl_client.ingest.plan import may_be_cut
from fl_client.ingest.receipts import Place
from fl_client.kept_update import forget_updates
from fl_client.local_state import LocalState
from fl_client.site import Site, crop_keys
from fl_client.unfinished import unfinished_runs

PURPOSE = Purpose.FINETUNING
"""Only fine-tuning keeps something of one person: a row of the identity head."""


def forget_withdrawn(site: Site) -> int:
    """Delete rows and face crops of everyone who may not be used now; return of how many people.

    Raises:
        LocalStateError: The weights of a run cannot be read, so nobody knows whose are in there.
        CropCacheError: A receipt cannot be read, so nobody knows whose recording it is.
    """
    forgotten = forget_crops(site)
    states = [
        LocalState(site.config.state, run_id, PURPOSE.value)
        for run_id in sorted(
            {p.parent.name for p in site.config.state.glob(f"*/{PURPOSE.value}.*safetensors")}
        )
    ]
    kept = {subject for state in states for subject in state.subjects()}
    allowed = site.gate.rule(kept, PURPOSE).allowed if kept else frozenset()
    forgotten |= kept - allowed
    for state in states:
        state.purge(allowed)
    forget_updates(site)
    return len(forgotten | forget_unfinished(site))


def forget_unfinished(site: Site) -> set[str]:
    """Delete trainings that learned from anyone who may not be used now; return who that was.

    Raises:
        LocalStateError: One cannot be read, so nobody knows whom it learned from.
    """
    forgotten: set[str] = set()
    for run in unfinished_runs(site.config.state):
        if (progress := run.progress()) is None:
            continue
        subjects = set(progress.subjects)
        gone = subjects - site.gate.rule(subjects, Purpose(progress.purpose)).allowed
        if gone:
            run.delete()
        forgotten |= gone
    return forgotten


def forget_crops(site: Site) -> set[str]:
    """Destroy keys, crops and labels of everyone who agrees to nothing now; return who that was."""
    places = [Place(listing) for listing in site.config.recordings]
    kept = {subject for place in places for subject in place.subjects()}
    allowed = may_be_cut(site.registry, kept)
    keys = crop_keys(site.config)
    return {subject for place in places for subject in place.purge(allowed, keys)}


def install_purge(config: Path, site: Site) -> Path:
    """Let every withdrawal be followed by a purge of this site; return the program's file."""
    command = shlex.join([sys.executable, "-m", "fl_client.cli", "purge", str(config.resolve())])
    return install_hook(site.config.consent, f"#!/bin/sh\nexec {command}\n")
