"""The identity head of a private phase, and how well people are told apart after it.

Without a head nothing works against identity in this phase. A frozen head names public people, and
the encoder learns to confuse it; one inside learns a site's people under the noise of the plan.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from core_model.config import FinetuneConfig
from core_model.data.frames import FrameDataset
from core_model.evaluation.attackers import Evidence, attack
from core_model.evaluation.predict import predict
from core_model.evaluation.verification import verify
from core_model.frozen_head import BIAS
from core_model.nn.iat import IATModel
from core_model.nn.weights import get_arrays, schema_of
from core_model.privacy.plan import IdentityHead, PrivacyPlan
from core_model.schema import Arrays, ParameterSchema, Role
from core_model.training.private import identity_slots
from core_model.training.public_head import fit_head, share_named
from core_model.training.seeds import derive_seed
from simulations.privacy_public import AUS, CPU, ENCODER, Faces, faces_of, public_model
from simulations.results import ScoreResult

# Share of the private phase before the reversal begins: a head inside knows nobody yet.
HEAD_START: dict[IdentityHead, float] = {"none": 0.0, "frozen": 0.0, "inside": 0.35}


class Identity(BaseModel):
    """How well people are told apart by the features, and what the head itself names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    site: ScoreResult  # frames of the people of one site that a converged linear probe names
    new: ScoreResult  # the same of new people
    equal_error_rate: ScoreResult  # of pairs of new people; 0.5 is guessing
    chance: float  # of both probes
    # Faces whose person, or slot, the head names: public ones if it is frozen, those of one site if
    # it is inside; None: there is no head.
    by_head: float | None


def with_reversal(config: FinetuneConfig, head: IdentityHead, scale: float) -> FinetuneConfig:
    """Return settings under which ``head`` works against identity.

    The reversed gradient is ``scale`` times as long as that of the AUs, as in the public phase.
    """
    return config.model_copy(
        update={
            "reversal": "relative", "identity_loss": "ce", "head_start": HEAD_START[head],
            "reversal_scale": 0.0 if head == "none" else scale,
        }
    )  # fmt: skip


def first_head(plan: PrivacyPlan, public: Path, faces: Faces, seed: int) -> Arrays:
    """Return the identity head that every site begins with. Shapes: weight (S, D), bias (S,)."""
    if plan.identity_head == "frozen":
        return public_head(public, faces)
    torch.manual_seed(seed)
    slots = plan.identity_slots if plan.identity_head == "inside" else 1
    return head_of(IATModel(ENCODER, AUS, slots, FinetuneConfig()))


@lru_cache(maxsize=2)
def public_head(public: Path, faces: Faces) -> Arrays:
    """Return the head that ``omote-model public-head`` makes of the public people."""
    people = faces_of(faces.public)
    features = torch.from_numpy(predict(public_model(public), people, device=CPU)[1])
    return fit_head(features, people.identities, len(people.subjects), derive_seed(0, "head"))


def head_of(model: IATModel) -> Arrays:
    """Copy the identity head out of a model."""
    own = [p for p in schema_of(model).parameters if p.role is Role.IDENTITY_HEAD]
    return get_arrays(model, ParameterSchema(parameters=tuple(own)))


def identity_of(
    model: IATModel, faces: Faces, people: int, kind: IdentityHead, head: Arrays
) -> Identity:
    """Measure on the first site's people, and on new ones.

    Args:
        model: Before the private phase, or after it.
        faces: Of everybody.
        people: At the site.
        kind: Of the head.
        head: The first site's own.
    """
    at_site, new = faces_of(faces.sites[0], people=people), faces_of(*faces.new_people)
    seen, met = _evidence(model, at_site), _evidence(model, new)
    named, strangers = attack("linear", seen), attack("linear", met)
    by_head = None
    if kind == "frozen":
        public = faces_of(faces.public)
        by_head = _named(head, _evidence(model, public), public.identities)
    elif kind == "inside":
        slots = identity_slots(at_site.subjects, len(head[BIAS]))
        by_head = _named(head, seen, slots[at_site.identities])
    return Identity(
        site=ScoreResult.of(named.accuracy), new=ScoreResult.of(strangers.accuracy),
        equal_error_rate=ScoreResult.of(verify(met).equal_error_rate),
        chance=strangers.chance, by_head=by_head,
    )  # fmt: skip


@lru_cache(maxsize=2)
def public_identity(public: Path, faces: Faces, people: int) -> Identity:
    """Return the same of the public model, before any private phase."""
    return identity_of(public_model(public), faces, people, "frozen", public_head(public, faces))


def _evidence(model: IATModel, people: FrameDataset) -> Evidence:
    features = predict(model, people, device=CPU)[1]
    recordings = np.unique(people.recording_ids, return_inverse=True)[1]
    return Evidence(features.astype(float), people.identities.numpy(), recordings)


def _named(head: Arrays, evidence: Evidence, rows: torch.Tensor) -> float:
    return share_named(head, torch.from_numpy(evidence.features).float(), rows)
