"""Sites that cheat, to show that they are found out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file

from consent.attestation import open_attestation, sign_attestation
from consent.keys import SigningKey
from consent.registry import Registry
from core_model.protocol.messages import RoundRequest, SiteUpdate, digest
from core_model.schema import Arrays
from fl_client.round import run_round
from fl_client.site import Site

Run = Callable[[RoundRequest, Site], SiteUpdate]


def sign_again(update: SiteUpdate, arrays: Arrays, key: SigningKey) -> SiteUpdate:
    """Return the update with other weights and an attestation that is true about them."""
    attestation = open_attestation(update.attestation, key.verifier)
    fitting = attestation.model_copy(update={"update": digest(arrays)})
    return dataclasses.replace(update, arrays=arrays, attestation=sign_attestation(fitting, key))


def send_identity_head(request: RoundRequest, site: Site) -> SiteUpdate:
    """Answer with the identity head hidden among the encoder's weights, properly signed."""
    update = run_round(request, site)
    kept = load_file(site.config.state / request.plan.run_id / "finetuning.safetensors")
    arrays = {**update.arrays, "encoder.blocks.9.extra": kept["identity_head.weight"]}
    return sign_again(update, arrays, site.key)


def hide_withdrawal(request: RoundRequest, site: Site, before: Path) -> SiteUpdate:
    """Answer on a consent log from before a withdrawal, and leave out the proof of growth.

    Args:
        request: Of the server.
        site: That cheats.
        before: Copy of the consent folder, from before the withdrawal.
    """
    plan = request.plan.model_copy(update={"tree_size": 0})
    registry = Registry.open(before, site.clock)
    past = dataclasses.replace(site, registry=registry, gate=registry.gate)
    return run_round(dataclasses.replace(request, plan=plan), past)
