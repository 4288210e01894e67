"""One training of a study: all data in one place, looked at after every epoch."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from core_model.config import encoder_config
from core_model.data.frames import FrameDataset
from core_model.evaluation.attackers import Evidence
from core_model.evaluation.identity import identity_probe
from core_model.evaluation.metrics import (
    Predictions,
    best_common_threshold,
    counts_by_subject,
    f1_from_counts,
)
from core_model.evaluation.predict import predict
from core_model.evaluation.ranking import areas
from core_model.evaluation.verification import verify
from core_model.nn.iat import IATModel
from core_model.nn.identity_head import make_identity_head
from core_model.training.finetune import finetune
from core_model.training.seeds import derive_seed
from simulations.results import ProbeResult, ScoreResult
from simulations.tradeoff.grid import Cell
from simulations.tradeoff.people import IMAGE_SIZE, Groups, load_groups
from simulations.tradeoff.result import CellResult, EpochResult, IdentityResult

CPU = torch.device("cpu")


def run_cell(cell: Cell, folder: Path, cache: Path) -> Path:
    """Train one cell, if its result is not there yet; return the file of its result."""
    path = folder / f"{cell.digest()[:16]}.json"
    if path.exists():
        return path
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result = train_cell(cell, load_groups(cell, cache))
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(result.model_dump_json(), encoding="utf-8")
    draft.replace(path)
    return path


def train_cell(cell: Cell, groups: Groups) -> CellResult:
    """Train and measure one cell."""
    started = time.perf_counter()
    model, config = _fresh(cell, len(groups.training.subjects)), cell.training()
    epochs: list[EpochResult] = []
    best, best_weights = 0, model.state_dict()
    for epoch in range(cell.epochs):
        finetune(
            model,
            groups.training,
            config,
            device=CPU,
            seed=derive_seed(cell.seed, "epoch", epoch),
            span=(epoch / cell.epochs, (epoch + 1) / cell.epochs),
        )
        epochs.append(_measure(model, groups))
        if epoch == 0 or epochs[-1].f1_validation > epochs[best].f1_validation:
            best = epoch
            best_weights = {n: t.clone() for n, t in model.state_dict().items()}
    new, _ = predict(model, groups.new_people, device=CPU)
    counts = _counts(new, epochs[-1].threshold)
    identity_last = _identity(model, groups)
    model.load_state_dict(best_weights)
    rates = groups.new_people.aus.numpy().mean(axis=0)
    return CellResult(
        cell=cell,
        epochs=tuple(epochs),
        best=best,
        identity_last=identity_last,
        identity_best=_identity(model, groups),
        counts_last=counts.tolist(),
        always=float(np.mean(2 * rates / (1 + rates))),
        labels_probe=_labels_probe(groups.training),
        seconds=time.perf_counter() - started,
    )


def _fresh(cell: Cell, num_identities: int) -> IATModel:
    encoder = encoder_config("micro", IMAGE_SIZE)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(cell.seed, "weights"))
        model = IATModel(encoder, cell.action_units, num_identities, cell.training())
        layers = cell.method.identity_head_layers
        model.add_module(
            "identity_head", make_identity_head(encoder.embed_dim, num_identities, layers)
        )
    return model


def _measure(model: IATModel, groups: Groups) -> EpochResult:
    validation, _ = predict(model, groups.validation, device=CPU)
    threshold = best_common_threshold(validation)
    own, new, away = (
        predict(model, g, device=CPU)[0]
        for g in (groups.training, groups.new_people, groups.new_site)
    )
    return EpochResult(
        threshold=threshold,
        f1_validation=_f1(validation, threshold),
        f1_own=_f1(own, threshold),
        f1_new_people=_f1(new, threshold),
        f1_new_site=_f1(away, threshold),
        auc_new_people=_auc(new),
    )


def _counts(p: Predictions, threshold: float) -> NDArray[np.int64]:
    return counts_by_subject(p, np.full(len(p.action_units), threshold))


def _f1(p: Predictions, threshold: float) -> float:
    return float(np.nanmean(f1_from_counts(_counts(p, threshold).sum(axis=0))))


def _auc(p: Predictions) -> float:
    once = np.ones((1, len(p.subjects)), np.int64)
    columns = (p.action_units.index(au) for au in p.scorable())
    return float(
        np.mean([areas(p.probabilities[:, a], p.aus[:, a] > 0.5, once).auc[0] for a in columns])
    )


def _identity(model: IATModel, groups: Groups) -> IdentityResult:
    own, new = (_evidence(model, g) for g in (groups.training, groups.new_people))
    return IdentityResult(
        own=ProbeResult.of(identity_probe(own.features, own.subjects, own.recordings)),
        new=ProbeResult.of(identity_probe(new.features, new.subjects, new.recordings)),
        equal_error_rate=ScoreResult.of(verify(new).equal_error_rate),
    )


def _labels_probe(dataset: FrameDataset) -> float:
    """Return how often people are named by what their frames show: a faultless detector's leak."""
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    return identity_probe(dataset.aus.numpy(), dataset.identities.numpy(), recordings).accuracy


def _evidence(model: IATModel, dataset: FrameDataset) -> Evidence:
    p, features = predict(model, dataset, device=CPU)
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    return Evidence(features, p.subjects, recordings)
