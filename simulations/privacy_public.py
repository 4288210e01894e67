"""What all cells of the curve share: a detector of public people, and what it says of everybody.

Read once in a process and kept: most cells start from the same weights and look at the same faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from core_model.action_units import SETS
from core_model.config import FinetuneConfig, OptimiserConfig, PretrainConfig, encoder_config
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.metrics import Predictions, best_common_threshold, f1_scores
from core_model.evaluation.predict import predict
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.schema import Arrays
from core_model.training.finetune import finetune
from core_model.training.pretrain import pretrain
from core_model.training.seeds import derive_seed

AUS = SETS["bp4d"]
# Adapters are there from the start and zero, so that all scopes start from the same detector.
ENCODER = encoder_config("micro", 64).model_copy(update={"lora_rank": 4})
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Faces:
    """Listings of everybody."""

    public: Path
    validation: Path  # public people who choose the threshold; private ones would spend budget
    sites: tuple[Path, ...]
    new_people: tuple[Path, ...]


@dataclass(frozen=True)
class Figure:
    """Macro F1 with its interval of 95 % by people."""

    value: float
    low: float
    high: float


def train_public(
    listing: Path, has_iat: bool, pretraining_epochs: int, epochs: int, out: Path, seed: int
) -> None:
    """Pretrain and fine-tune on public people; keep the shared weights, whole or not at all."""
    torch.set_num_threads(1)
    recordings = read_recordings(listing)
    pretraining = PretrainConfig(
        mask_ratio=0.5, decoder_dim=64, decoder_depth=1, decoder_heads=2,
        optimiser=OptimiserConfig(
            learning_rate=1e-3, betas=(0.9, 0.95), warmup=0.05, batch_size=32,
            epochs_per_round=pretraining_epochs,
        ),
    )  # fmt: skip
    torch.manual_seed(derive_seed(seed, "public weights"))
    plain = ENCODER.model_copy(update={"lora_rank": 0})
    mae = MaskedAutoencoder(plain, pretraining)
    pretrain(mae, FrameDataset(recordings, 64), pretraining, device=CPU, seed=seed)
    dataset = FrameDataset(recordings, 64, AUS)
    config = FinetuneConfig(
        drop_path=0.0, reversal="relative", reversal_scale=1.0 if has_iat else 0.0,
        identity_loss="ce", identity_learning_rate=3.0, identity_steps=4, head_start=0.35,
        optimiser=OptimiserConfig(learning_rate=1.5e-3, batch_size=16, epochs_per_round=epochs),
    )  # fmt: skip
    model = IATModel(plain, AUS, len(dataset.subjects), config)
    set_arrays(model, get_arrays(mae, schema_of(mae).shared("pretraining")))
    finetune(model, dataset, config, device=CPU, seed=seed)
    draft = out.with_name(f"{out.name}.draft")
    save_file(get_arrays(model, schema_of(model).shared("finetuning")), draft)
    draft.replace(out)


@lru_cache(maxsize=2)
def start(public: Path) -> Arrays:
    """Return the weights that a private phase begins with: the public ones, and fresh adapters."""
    torch.manual_seed(derive_seed(0, "adapters"))
    model = IATModel(ENCODER, AUS, 1, FinetuneConfig())
    set_arrays(model, load_file(public))
    return get_arrays(model, schema_of(model).shared("finetuning"))


def public_model(public: Path) -> IATModel:
    """Return the detector that a private phase begins with."""
    model = IATModel(ENCODER, AUS, 1, FinetuneConfig())
    set_arrays(model, start(public))
    return model


@lru_cache(maxsize=32)
def faces_of(*listings: Path, people: int | None = None) -> FrameDataset:
    """Return the labelled faces of some lists, of their first people or of all."""
    recordings = [r for listing in listings for r in read_recordings(listing)]
    chosen = set(sorted({r.subject_id for r in recordings})[:people])
    return FrameDataset([r for r in recordings if r.subject_id in chosen], 64, AUS)


@lru_cache(maxsize=32)
def features_of(public: Path, listing: Path, people: int) -> Tensor:
    """Return what the public encoder says of each face of a site. Shape: (F, D)."""
    found = predict(public_model(public), faces_of(listing, people=people), device=CPU)
    return torch.from_numpy(found[1])


@lru_cache(maxsize=2)
def public_f1(public: Path, faces: Faces) -> Figure:
    """Return F1 on new people before any private phase."""
    return f1_of(public_model(public), faces)


def f1_of(model: IATModel, faces: Faces) -> Figure:
    """Return F1 on new people, with the one threshold that suits public people best."""
    found = predict(model, faces_of(faces.validation), device=CPU)[0]
    threshold = best_common_threshold(found)
    tested = predict(model, faces_of(*faces.new_people), device=CPU)[0]
    return _macro(tested, threshold)


@lru_cache(maxsize=1)
def always_f1(faces: Faces) -> Figure:
    """Return F1 on new people of an answer that looks at nobody: every AU, always."""
    data = faces_of(*faces.new_people)
    always = np.ones(data.aus.shape, np.float32)
    labels = (data.aus.numpy(), data.known.numpy(), data.identities.numpy())
    return _macro(Predictions(AUS, always, *labels), 0.5)


def _macro(found: Predictions, threshold: float) -> Figure:
    _, macro = f1_scores(found, np.full(len(AUS), threshold), seed=0)
    return Figure(macro.value, macro.low, macro.high)
