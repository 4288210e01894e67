"""One point of the curve: from public weights, private rounds at some sites, then new people.

The mechanism is the one that sites run. Consent, ledger and messages are left out: they change no
weight. Epsilon infinity is the same training, clipped and without noise.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from core_model.config import FinetuneConfig, OptimiserConfig
from core_model.nn.iat import IATModel
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.privacy.accounting import calibrate
from core_model.privacy.chance import SimulationChance
from core_model.privacy.plan import PrivacyPlan, Scope
from core_model.privacy.sent import sent_back
from core_model.schema import Arrays
from core_model.training.private import finetune_privately
from core_model.training.seeds import derive_seed
from fl_server.aggregation import Aggregator
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

    @property
    def name(self) -> str:
        """A file name."""
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


def measure_cell(cell: Cell, effort: Effort, public: Path, faces: Faces) -> CellResult:
    """Train one cell from the weights in ``public`` and measure it; the first people take part."""
    torch.set_num_threads(1)
    plan = plan_of(cell, effort)
    model = IATModel(ENCODER, AUS, 1, FinetuneConfig())
    set_arrays(model, _train(model, public, faces, plan, cell, effort))
    found = f1_of(model, faces)
    return CellResult(
        cell=cell, noise_multiplier=plan.noise_multiplier, sampling_rate=plan.sampling_rate,
        f1=found.value, low=found.low, high=found.high,
        f1_public=public_f1(public, faces).value, f1_always=always_f1(faces).value,
    )  # fmt: skip


def plan_of(cell: Cell, effort: Effort) -> PrivacyPlan:
    """Return the plan of a cell; the noise follows from epsilon."""
    rate, steps = min(1.0, UNITS_A_STEP / cell.people), effort.rounds * effort.steps_per_round
    noise = NO_NOISE
    if math.isfinite(cell.epsilon):
        noise = calibrate(cell.epsilon, sampling_rate=rate, steps=steps, delta=1e-5)
    return PrivacyPlan(
        sampling_rate=rate, nominal_units=cell.people, steps_per_round=effort.steps_per_round,
        frames_per_subject=effort.frames_per_subject, noise_multiplier=noise, scope=cell.scope,
        last_k=1,
    )  # fmt: skip


def _train(
    model: IATModel, public: Path, faces: Faces, plan: PrivacyPlan, cell: Cell, effort: Effort
) -> Arrays:
    """Run the private rounds; return the shared weights after them."""
    config = FinetuneConfig(
        drop_path=0.0, reversal_scale=0.0, augment=False,
        optimiser=OptimiserConfig(learning_rate=RATES[cell.scope], warmup=0.0, batch_size=64),
    )  # fmt: skip
    sent = sent_back(schema_of(model).shared("finetuning"), plan)
    arrays = start(public)
    for number in range(effort.rounds):
        mean = Aggregator(sent, AUS)
        span = number / effort.rounds, (number + 1) / effort.rounds
        for site, listing in enumerate(faces.sites[: cell.sites]):
            set_arrays(model, arrays)
            seen = features_of(public, listing, cell.people) if cell.scope == "head" else None
            chance = SimulationChance(derive_seed(cell.name, number, site))
            finetune_privately(
                model, faces_of(listing, people=cell.people), config, plan, device=CPU,
                chance=chance, charge=_no_ledger, span=span, features=seen,
            )  # fmt: skip
            mean.fold(get_arrays(model, sent), 1.0, dict.fromkeys(AUS, 1.0))
        arrays = arrays | mean.mean(arrays)
    return arrays


def _no_ledger(steps: int) -> None:
    """Nobody here is real: nothing is charged."""
