"""One point of the curve: a public phase, then private rounds at some sites, then new people.

The mechanism is the one that sites run. Consent, ledger and messages are left out: they change no
weight. Epsilon infinity is the same training, clipped and without noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from core_model.action_units import SETS
from core_model.config import FinetuneConfig, OptimiserConfig, PretrainConfig, encoder_config
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.metrics import best_common_threshold, f1_scores
from core_model.evaluation.predict import predict
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.privacy.accounting import calibrate
from core_model.privacy.chance import SimulationChance
from core_model.privacy.plan import PrivacyPlan, Scope
from core_model.privacy.sent import sent_back
from core_model.schema import Arrays
from core_model.training.finetune import finetune
from core_model.training.pretrain import pretrain
from core_model.training.private import finetune_privately
from core_model.training.seeds import derive_seed
from fl_server.aggregation import Aggregator

AUS = SETS["bp4d"]
ENCODER = encoder_config("micro", 64)
CPU = torch.device("cpu")
UNITS_A_STEP = 16  # people whom a step is meant to draw; with fewer at a site it draws everybody
FRAMES = 16
NO_NOISE = 1e-9
# Of the private phase. AdamW moves a weight by about the rate, whatever is noise in its gradient.
RATES: dict[Scope, float] = {"head": 2e-3, "norms": 1e-3, "last_k": 3e-4, "full": 1e-4}


class Effort(BaseModel):
    """How long everything trains. Public numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    public_epochs: int = 24  # of fine-tuning with or without IAT
    pretraining_epochs: int = 8
    rounds: int = 4
    steps_per_round: int = 10


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
    f1_public: float  # before the private phase


def train_public(listing: Path, has_iat: bool, effort: Effort, out: Path, seed: int) -> None:
    """Pretrain and fine-tune on public people; keep the shared weights, whole or not at all."""
    torch.set_num_threads(1)
    recordings = read_recordings(listing)
    pretraining = PretrainConfig(
        mask_ratio=0.5, decoder_dim=64, decoder_depth=1, decoder_heads=2,
        optimiser=OptimiserConfig(
            learning_rate=1e-3, betas=(0.9, 0.95), warmup=0.05, batch_size=32,
            epochs_per_round=effort.pretraining_epochs,
        ),
    )  # fmt: skip
    torch.manual_seed(derive_seed(seed, "public weights"))
    mae = MaskedAutoencoder(ENCODER, pretraining)
    pretrain(mae, FrameDataset(recordings, 64), pretraining, device=CPU, seed=seed)
    dataset = FrameDataset(recordings, 64, AUS)
    config = FinetuneConfig(
        drop_path=0.0, reversal="relative", reversal_scale=1.0 if has_iat else 0.0,
        identity_loss="ce", identity_learning_rate=3.0, identity_steps=4, head_start=0.35,
        optimiser=OptimiserConfig(
            learning_rate=1.5e-3, batch_size=16, epochs_per_round=effort.public_epochs
        ),
    )  # fmt: skip
    model = IATModel(ENCODER, AUS, len(dataset.subjects), config)
    set_arrays(model, get_arrays(mae, schema_of(mae).shared("pretraining")))
    finetune(model, dataset, config, device=CPU, seed=seed)
    draft = out.with_name(f"{out.name}.draft")
    save_file(get_arrays(model, schema_of(model).shared("finetuning")), draft)
    draft.replace(out)


def measure_cell(
    cell: Cell,
    effort: Effort,
    public: Path,
    sites: Sequence[Path],
    validation: Path,
    new_people: Sequence[Path],
) -> CellResult:
    """Train one cell and measure it.

    Args:
        cell: What is varied.
        effort: How long it trains.
        public: Weights of the public phase.
        sites: Listing of each site; the first ``cell.people`` people take part.
        validation: Public people who choose the threshold; private ones would spend budget.
        new_people: Listings with true labels.
    """
    torch.set_num_threads(1)
    datasets = [FrameDataset(first_people(s, cell.people), 64, AUS) for s in sites[: cell.sites]]
    choosing = FrameDataset(read_recordings(validation), 64, AUS)
    tested = FrameDataset([r for s in new_people for r in read_recordings(s)], 64, AUS)
    model = IATModel(ENCODER, AUS, 1, FinetuneConfig())
    arrays: Arrays = load_file(public)
    before, _, _ = _f1(model, arrays, choosing, tested)
    plan = plan_of(cell, effort)
    arrays = _train(model, arrays, datasets, plan, cell, effort)
    value, low, high = _f1(model, arrays, choosing, tested)
    return CellResult(
        cell=cell, noise_multiplier=plan.noise_multiplier, sampling_rate=plan.sampling_rate,
        f1=value, low=low, high=high, f1_public=before,
    )  # fmt: skip


def plan_of(cell: Cell, effort: Effort) -> PrivacyPlan:
    """Return the plan of a cell; the noise follows from epsilon."""
    rate, steps = min(1.0, UNITS_A_STEP / cell.people), effort.rounds * effort.steps_per_round
    noise = NO_NOISE
    if math.isfinite(cell.epsilon):
        noise = calibrate(cell.epsilon, sampling_rate=rate, steps=steps, delta=1e-5)
    return PrivacyPlan(
        sampling_rate=rate, nominal_units=cell.people, frames_per_subject=FRAMES,
        steps_per_round=effort.steps_per_round, noise_multiplier=noise, scope=cell.scope,
        last_k=1,
    )  # fmt: skip


def first_people(listing: Path, number: int) -> list[Recording]:
    """Return the recordings of the first people of a list."""
    recordings = read_recordings(listing)
    people = sorted({r.subject_id for r in recordings})[:number]
    return [r for r in recordings if r.subject_id in set(people)]


def _train(
    model: IATModel,
    arrays: Arrays,
    datasets: Sequence[FrameDataset],
    plan: PrivacyPlan,
    cell: Cell,
    effort: Effort,
) -> Arrays:
    """Run the private rounds; return the shared weights after them."""
    config = FinetuneConfig(
        drop_path=0.0, reversal_scale=0.0,
        optimiser=OptimiserConfig(learning_rate=RATES[cell.scope], warmup=0.0, batch_size=64),
    )  # fmt: skip
    sent = sent_back(schema_of(model).shared("finetuning"), plan)
    for number in range(effort.rounds):
        mean = Aggregator(sent, AUS)
        span = number / effort.rounds, (number + 1) / effort.rounds
        for site, dataset in enumerate(datasets):
            set_arrays(model, arrays)
            chance = SimulationChance(derive_seed(cell.name, number, site))
            finetune_privately(
                model, dataset, config, plan,
                device=CPU, chance=chance, charge=_no_ledger, span=span,
            )  # fmt: skip
            mean.fold(get_arrays(model, sent), 1.0, dict.fromkeys(AUS, 1.0))
        arrays = arrays | mean.mean(arrays)
    return arrays


def _no_ledger(steps: int) -> None:
    """Nobody here is real: nothing is charged."""


def _f1(
    model: IATModel, arrays: Arrays, choosing: FrameDataset, tested: FrameDataset
) -> tuple[float, float, float]:
    set_arrays(model, arrays)
    threshold = best_common_threshold(predict(model, choosing, device=CPU)[0])
    thresholds = np.full(len(AUS), threshold)
    _, macro = f1_scores(predict(model, tested, device=CPU)[0], thresholds, seed=0)
    return macro.value, macro.low, macro.high
