"""Cross-dataset tables: every model on every set of people, over the AUs that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from core_model.action_units import check_aus
from core_model.config import Settings
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.evaluate import measures
from core_model.evaluation.metrics import Predictions
from core_model.evaluation.model_run import checkpoints_of, load_detector, model_facts
from core_model.evaluation.predict import predict
from core_model.evaluation.result import Measures, ModelFacts

THRESHOLD = 0.5  # fixed: one chosen on a dataset would favour it


class CrossCell(Settings):
    """One model on one set of people."""

    model: str
    people: str
    num_people: int
    macro: Measures
    per_au: dict[int, Measures]


class CrossResult(Settings):
    """All models on all sets. Only AUs that every model knows and every set can score."""

    action_units: tuple[int, ...]
    threshold: float
    models: dict[str, ModelFacts]
    cells: tuple[CrossCell, ...]


def cross(
    models: Mapping[str, Path], sets: Mapping[str, Path], *, device: torch.device
) -> CrossResult:
    """Evaluate every model on every set of people.

    Whoever trained a model on people of a set must leave them out of the list: this cannot know.

    Raises:
        CheckpointError: A checkpoint cannot be read.
        ValueError: A list is damaged, or no AU is shared by all.
    """
    predictions: dict[tuple[str, str], Predictions] = {}
    facts: dict[str, ModelFacts] = {}
    for name, path in models.items():
        files = checkpoints_of(path)
        model, manifest = load_detector(files[-1])
        facts[name] = model_facts(path, manifest, len(files))
        for people, listing in sets.items():
            dataset = FrameDataset(
                read_recordings(listing), manifest.encoder.image_size, manifest.action_units
            )
            predictions[name, people] = predict(model, dataset, device=device)[0]
    shared = set.intersection(*(set(p.scorable()) for p in predictions.values()))
    if not shared:
        raise ValueError("no AU is known to every model and can be scored in every list")
    aus = check_aus(shared)
    cells = []
    for (name, people), p in predictions.items():
        macro, per_au = measures(p.only(aus), np.full(len(aus), THRESHOLD))
        num_people = len(np.unique(p.subjects))
        cells.append(
            CrossCell(model=name, people=people, num_people=num_people, macro=macro, per_au=per_au)
        )
    return CrossResult(action_units=aus, threshold=THRESHOLD, models=facts, cells=tuple(cells))
