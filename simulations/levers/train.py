"""One cell of the study: pretrain, fine-tune, adapt, measure."""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from core_model.config import encoder_config
from core_model.evaluation.metrics import best_common_threshold
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.training.adapt import adapt
from core_model.training.finetune import finetune
from core_model.training.pretrain import pretrain
from core_model.training.seeds import derive_seed
from simulations.levers.measure import CPU, ask, calibrated, measure
from simulations.levers.people import LeverGroups, load_lever_groups, load_pool
from simulations.levers.plan import Cure, LeverCell
from simulations.levers.result import LeverCellResult, LeverResult
from simulations.tradeoff.people import IMAGE_SIZE


def run_cell(cell: LeverCell, folder: Path, cache: Path) -> Path:
    """Train one cell, if its result is not there yet; return the file of its result."""
    path = folder / f"{cell.digest()[:16]}.json"
    if path.exists():
        return path
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result = train_cell(cell, cache, folder)
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(result.model_dump_json(), encoding="utf-8")
    draft.replace(path)
    return path


def train_cell(cell: LeverCell, cache: Path, folder: Path) -> LeverCellResult:
    """Train and measure one cell."""
    started = time.perf_counter()
    groups = load_lever_groups(cell, cache)
    model = fresh(cell, len(groups.bench.training.subjects))
    warm_up(model, cell, cache, folder)
    for epoch in range(cell.base.epochs):
        finetune(
            model,
            groups.bench.training,
            cell.base.training(),
            device=CPU,
            seed=derive_seed(cell.base.seed, "epoch", epoch),
            span=(epoch / cell.base.epochs, (epoch + 1) / cell.base.epochs),
        )
    threshold = best_common_threshold(ask(model, groups.bench.validation).predictions)
    away = ask(model, groups.bench.new_site)
    seconds = time.perf_counter() - started
    first = measure(cell.beginning.name, model, away, groups.bench, threshold, seconds)
    rest = (try_cure(cure, model, groups, cell, threshold) for cure in cell.cures)
    rates = away.predictions.aus.mean(axis=0)
    return LeverCellResult(
        cell=cell,
        levers=(first, *rest),
        always=float(np.mean(2 * rates / (1 + rates))),
        seconds=time.perf_counter() - started,
    )


def fresh(cell: LeverCell, num_identities: int) -> IATModel:
    """Return fresh weights: the same for every beginning of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(cell.base.seed, "weights"))
        encoder = encoder_config("micro", IMAGE_SIZE)
        return IATModel(encoder, cell.base.action_units, num_identities, cell.base.training())


def warm_up(model: IATModel, cell: LeverCell, cache: Path, folder: Path) -> None:
    """Pretrain the encoder in place, on each pool in turn."""
    for pool in cell.beginning.pools:
        faces = load_pool(cell, pool, cache, folder)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(cell.base.seed, "decoder", pool))
            autoencoder = MaskedAutoencoder(model.encoder.config, cell.pretraining)
        autoencoder.encoder.load_state_dict(model.encoder.state_dict())
        # As many steps on a small pool as on a large one: else the smaller would be trained less.
        steps = cell.pretraining_epochs * cell.pool_people * 40
        epochs = max(1, round(steps / len(faces)))
        for epoch in range(epochs):
            pretrain(
                autoencoder,
                faces,
                cell.pretraining,
                device=CPU,
                seed=derive_seed(cell.base.seed, "pretraining", pool, epoch),
                span=(epoch / epochs, (epoch + 1) / epochs),
            )
        model.encoder.load_state_dict(autoencoder.encoder.state_dict())


def try_cure(
    cure: Cure, reference: IATModel, groups: LeverGroups, cell: LeverCell, threshold: float
) -> LeverResult:
    """Adapt a copy of the reference at the new site, and measure it there."""
    started = time.perf_counter()
    model = copy.deepcopy(reference)
    if cure.trained is not None:
        adapt(
            model,
            groups.unlabelled,
            cell.adaptation.model_copy(update={"trained": cure.trained}),
            threshold=threshold,
            device=CPU,
            seed=derive_seed(cell.base.seed, "adaptation"),
        )
    away = calibrated(model, groups.bench) if cure.neutral else ask(model, groups.bench.new_site)
    seconds = time.perf_counter() - started
    return measure(cure.name, model, away, groups.bench, threshold, seconds)
