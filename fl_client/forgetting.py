"""Delete what a site keeps about people who took their consent back: in every run, at once."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from consent.hooks import install_hook
from consent.model import Purpose
from fl_client.local_state import LocalState
from fl_client.site import Site

PURPOSE = Purpose.FINETUNING
"""Only fine-tuning keeps something of one person: a row of the identity head."""


def forget_withdrawn(site: Site) -> int:
    """Delete the identity rows of everyone who may not be used now; return how many that were.

    Raises:
        LocalStateError: The weights of a run cannot be read, so nobody knows whose are in there.
    """
    states = [
        LocalState(site.config.state, path.parent.name, PURPOSE.value)
        for path in sorted(site.config.state.glob(f"*/{PURPOSE.value}.safetensors"))
    ]
    kept = {subject for state in states for subject in state.subjects()}
    allowed = site.gate.rule(kept, PURPOSE).allowed if kept else frozenset()
    return sum(state.purge(allowed) for state in states)


def install_purge(config: Path, site: Site) -> Path:
    """Let every withdrawal be followed by a purge of this site; return the program's file."""
    command = shlex.join([sys.executable, "-m", "fl_client.cli", "purge", str(config.resolve())])
    return install_hook(site.config.consent, f"#!/bin/sh\nexec {command}\n")
