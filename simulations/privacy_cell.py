"""One point of the curve: from public weights, private rounds at some sites, then new people.

The mechanism is the one that sites run. Consent, ledger and messages are left out: they change no
weight. Epsilon infinity is the same training, clipped and without noise.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict

from core_model.config import FinetuneConfig, OptimiserConfig
from core_model.frozen_head import BIAS
from core_model.nn.iat import IATModel
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.privacy.accounting import calibrate
from core_model.privacy.chance import SimulationChance
from core_model.privacy.plan import IdentityHead, PrivacyPlan, Scope
from core_model.privacy.sent import sent_back
from core_model.schema import Arrays
from core_model.training.private import finetune_privately
from core_model.training.seeds import derive_seed
from fl_server.aggregation import Aggregator
from simulations.privacy_identity import (
    Identity,
    first_head,
    head_of,
    identity_of,
    public_identity,
    with_reversal,
)
from simulations.privacy_public import (
    AUS,
    CPU,
    ENCODER,
    Faces,
    always_f1,
    f1_of,
    faces_of,
    features_of,
    public_f1,
    start,
)  # fmt: skip

UNITS_A_STEP = 32  # people whom a step is meant to draw; with fewer at a site it draws everybody
NO_NOISE = 1e-9
# Of the private phase. AdamW moves a weight by about the rate, whatever is noise in its gradient.
RATES: dict[Scope, float] = {
    "head": 1e-2, "norms": 3e-3, "lora": 1e-2, "last_k": 1e-3, "full": 1e-3,
}  # fmt: skip


class Effort(BaseModel):
    """How long everything trains. Public numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    public_epochs: int = 60  # of fine-tuning with or without IAT
    pretraining_epochs: int = 10
    rounds: int = 4
    steps_per_round: int = 5
    frames_per_subject: int = 4


class Cell(BaseModel):
    """What is varied."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
    epsilon: float  # of a person; inf: no noise
    scope: Scope
    has_iat: bool  # in the public phase
    people: int  # at each site
    sites: int
    seed: int  # of sampling and noise
    # In the private phase. None: none, and how well people are told apart is not measured.
    identity_head: IdentityHead | None = None
    reversal_scale: float = 1.0  # of that head; 1 in the public phase

    @property
    def name(self) -> str:
        """A file name."""
        if self.identity_head is None:
            return self.chance
        return f"{self.chance}-{self.identity_head}-x{self.reversal_scale:g}"

    @property
    def chance(self) -> str:
        """What sampling and noise follow from: alike for all identity heads."""
        iat = "iat" if self.has_iat else "plain"
        return f"{iat}-{self.scope}-eps{self.epsilon:g}-p{self.people}-s{self.sites}-{self.seed}"


class CellResult(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
    cell: Cell
    noise_multiplier: float
    sampling_rate: float
    f1: float  # macro, new people
    low: float  # 95 %, by people
    high: float
    f1_public: float  # before the private phase: the public model without a federation
    f1_always: float  # of an answer that looks at nobody: every AU, always
    # Where the cell names an identity head:
    identity: Identity | None = None
    identity_public: Identity | None = None  # of the public model, with the frozen head
    step_s: float | None = None  # processor seconds of a private step


def measure_cell(cell: Cell, effort: Effort, public: Path, faces: Faces) -> CellResult:
    """Train one cell from the weights in ``public`` and measure it; the first people take part."""
    torch.set_num_threads(1)
    plan = plan_of(cell, effort)
    trained = _train(public, faces, plan, cell, effort)
    found = f1_of(trained.model, faces)
    result = CellResult(
        cell=cell, noise_multiplier=plan.noise_multiplier, sampling_rate=plan.sampling_rate,
        f1=found.value, low=found.low, high=found.high,
        f1_public=public_f1(public, faces).value, f1_always=always_f1(faces).value,
    )  # fmt: skip
    if cell.identity_head is None:
        return result
    told = {
        "identity": identity_of(
            trained.model, faces, cell.people, cell.identity_head, trained.head
        ),
        "identity_public": public_identity(public, faces, cell.people),
        "step_s": trained.step_s,
    }
    return result.model_copy(update=told)


def plan_of(cell: Cell, effort: Effort) -> PrivacyPlan:
    """Return the plan of a cell; the noise follows from epsilon."""
    rate, steps = min(1.0, UNITS_A_STEP / cell.people), effort.rounds * effort.steps_per_round
    noise = NO_NOISE
    if math.isfinite(cell.epsilon):
        noise = calibrate(cell.epsilon, sampling_rate=rate, steps=steps, delta=1e-5)
    return PrivacyPlan(
        sampling_rate=rate, nominal_units=cell.people, steps_per_round=effort.steps_per_round,
        frames_per_subject=effort.frames_per_subject, noise_multiplier=noise, scope=cell.scope,
        last_k=1, identity_head=cell.identity_head or "none",
    )  # fmt: skip


class _Trained(NamedTuple):
    """What the private rounds left."""

    model: IATModel
    head: Arrays  # the identity head of the first site
    step_s: float  # processor seconds of a step


def _train(public: Path, faces: Faces, plan: PrivacyPlan, cell: Cell, effort: Effort) -> _Trained:
    """Run the private rounds."""
    config = FinetuneConfig(
        drop_path=0.0, reversal_scale=0.0, augment=False,
        optimiser=OptimiserConfig(learning_rate=RATES[cell.scope], warmup=0.0, batch_size=64),
    )  # fmt: skip
    config = with_reversal(config, plan.identity_head, cell.reversal_scale)
    heads = [first_head(plan, public, faces, cell.seed)] * cell.sites  # each site keeps its own
    model = IATModel(ENCODER, AUS, len(heads[0][BIAS]), config)
    sent = sent_back(schema_of(model).shared("finetuning"), plan)
    arrays, seconds = start(public), 0.0
    for number in range(effort.rounds):
        mean = Aggregator(sent, AUS)
        span = number / effort.rounds, (number + 1) / effort.rounds
        for site, listing in enumerate(faces.sites[: cell.sites]):
            set_arrays(model, arrays | heads[site])
            seen = features_of(public, listing, cell.people) if cell.scope == "head" else None
            chance = SimulationChance(derive_seed(cell.chance, number, site))
            begun = time.process_time()
            finetune_privately(
                model, faces_of(listing, people=cell.people), config, plan, device=CPU,
                chance=chance, charge=_no_ledger, span=span, features=seen,
            )  # fmt: skip
            seconds += time.process_time() - begun
            heads[site] = head_of(model)
            mean.fold(get_arrays(model, sent), 1.0, dict.fromkeys(AUS, 1.0))
        arrays = arrays | mean.mean(arrays)
    set_arrays(model, arrays)
    return _Trained(model, heads[0], seconds / (plan.steps_per_round * effort.rounds * cell.sites))


def _no_ledger(steps: int) -> None:
    """Nobody here is real: nothing is charged."""
