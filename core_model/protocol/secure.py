"""The four messages of a secure sum, and their answers: keys, shares, masked, unmask.

What is secret in them is sealed between sites; the server carries it and cannot open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core_model.config import Settings
from core_model.protocol.messages import RoundPlan, RoundRequest, digest
from core_model.secure_sum.roster import Roster, RoundName, SignedKeys
from core_model.secure_sum.terms import MAX_SITES

SiteId = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")]
Sealed = Annotated[str, Field(max_length=4000)]
Share = Annotated[str, Field(pattern="^[0-9a-f]{40,1000}$")]
_MANY = Field(max_length=MAX_SITES)


class KeysRequest(Settings):
    """Message 1: a round is planned; make keys for it. Answer: ``SignedKeys``."""

    plan: RoundPlan


class RosterRequest(Settings):
    """Message 2: these sites take part; send each a share of your secrets."""

    roster: Roster


class SealedShares(Settings):
    """Its answer: for each other site a share that it alone can open."""

    shares: dict[SiteId, Sealed] = _MANY
    commitment: str = Field(pattern="^[0-9a-f]{64}$")  # to the seed of the site's own mask


@dataclass(frozen=True)
class MaskedRequest:
    """Message 3: train, and send the masked vector; with what the other sites sealed for you."""

    request: RoundRequest
    shares: dict[str, str]


@dataclass(frozen=True)
class MaskedUpdate:
    """Its answer. The attestation's update is the digest of the masked vector."""

    site_id: str
    vector: NDArray[np.uint32]
    attestation: bytes  # DSSE envelope
    labelled_aus: tuple[int, ...] = ()
    cosignature: str = ""  # a line for the server's head that came with the request


class UnmaskRequest(Settings):
    """Message 4: who stayed and who dropped out."""

    run_id: str
    round: int
    survivors: tuple[SiteId, ...] = _MANY
    dropouts: tuple[SiteId, ...] = _MANY


class Unmasking(Settings):
    """Its answer: one share for each site of the roster, and never two."""

    seeds: dict[SiteId, Share] = _MANY  # of those who stayed: of their own masks
    keys: dict[SiteId, Share] = _MANY  # of those who dropped out: of their masking keys


SecureRequest = KeysRequest | RosterRequest | MaskedRequest | UnmaskRequest
SecureReply = SignedKeys | SealedShares | MaskedUpdate | Unmasking


def plan_of(message: RoundRequest | SecureRequest) -> RoundPlan | None:
    """Return the plan that a message brings along, if it does."""
    if isinstance(message, MaskedRequest):
        return message.request.plan
    return message.plan if isinstance(message, RoundRequest | KeysRequest) else None


def round_name(plan: RoundPlan) -> RoundName:
    """Return what keys are signed for.

    Raises:
        ValueError: The plan sums in clear.
    """
    if plan.secure is None:
        raise ValueError("expected a plan with a secure sum")
    return RoundName(
        run_id=plan.run_id,
        round=plan.round,
        purpose=plan.purpose,
        model_in=plan.model_in,
        terms=plan.secure,
    )


def vector_digest(vector: NDArray[np.uint32]) -> str:
    """Return what a site signs of a masked vector."""
    return digest({"masked": vector})
