"""Evaluate checkpoints on recordings: load, predict, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core_model.checkpoint import CheckpointError, CheckpointManifest, load_checkpoint
from core_model.config import FinetuneConfig
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.evaluate import (
    ProtocolName,
    epoch_rows,
    inflation_rows,
    measures,
    run_protocols,
    shared_aus,
)
from core_model.evaluation.metrics import Predictions
from core_model.evaluation.paired import compare
from core_model.evaluation.partitions import check_apart, is_held_out, subjects_of
from core_model.evaluation.predict import predict
from core_model.evaluation.protocol import Epoch, clean
from core_model.evaluation.result import (
    ComparisonResult,
    DataFacts,
    EvaluationResult,
    Measure,
    ModelFacts,
)
from core_model.evaluation.thresholds import ThresholdPolicy
from core_model.nn.bottleneck import add_bottlenecks
from core_model.nn.iat import IATModel
from core_model.nn.weights import set_arrays
from core_model.run_folder import epoch_files, read_run


@dataclass(frozen=True)
class People:
    """Whose recordings are tested on, and whose choose thresholds."""

    name: str
    test: tuple[Recording, ...]
    validation: tuple[Recording, ...]


def load_detector(path: Path, *, leaving: bool = False) -> tuple[IATModel, CheckpointManifest]:
    """Return the model of a checkpoint, its decoder left out and its bottlenecks in place.

    Args:
        path: The checkpoint.
        leaving: Is it to be handed out? Weights adapted to a site are then refused, unless whoever
            adapted them said that they may leave it.

    Raises:
        CheckpointError: It cannot be read.
        ValueError: It has no AU head.
    """
    arrays, manifest = load_checkpoint(path, allow_adapted=True)
    adaptation = manifest.adaptation
    if leaving and adaptation and not adaptation.may_leave_site:
        raise CheckpointError(f"{path}: adapted to one site without labels; it stays there")
    if not manifest.action_units:
        raise ValueError(f"{path} is an encoder without an AU head; fine-tune it first")
    model = IATModel(manifest.encoder, manifest.action_units, 1, FinetuneConfig())
    if adaptation and adaptation.config.trained == "bottlenecks":
        add_bottlenecks(model.encoder, adaptation.config.width, adaptation.config.scale)
    set_arrays(model, {n: a for n, a in arrays.items() if not n.startswith("decoder.")})
    return model.eval(), manifest


def checkpoints_of(path: Path) -> tuple[Path, ...]:
    """Return the epochs of a run's folder, or the one checkpoint.

    Raises:
        ValueError: A folder holds no epochs.
    """
    if not path.is_dir():
        return (path,)
    if not (files := epoch_files(path)):
        raise ValueError(f"{path} holds no epoch-*.safetensors; name a run of omote-model train")
    return files


def choose_people(
    run: Path, recordings: Path, partition: str | None, validation: Path | None
) -> People:
    """Return whom to test on and who chooses thresholds.

    For a run of ``omote-model train``, its test partition and its held-out people are taken, so
    that one list serves for training, validation and test.

    Raises:
        ValueError: A list is damaged, nobody is left, or someone would be in both groups.
    """
    record = read_run(run) if run.is_dir() else None
    partition = partition or (record.test_partition if record else None)
    listed = read_recordings(recordings)
    wanted = subjects_of(listed, partition) if partition else None
    test = tuple(r for r in listed if wanted is None or r.subject_id in wanted)
    if not test:
        raise ValueError(f"{recordings} lists nobody of {partition or 'anywhere'}")
    choosing = read_recordings(validation) if validation else ()
    if record:
        choosing = tuple(
            r for r in choosing if is_held_out(r.subject_id, record.held_out_share, record.seed)
        )
    if partition:
        left_out = subjects_of(choosing, partition)
        choosing = tuple(r for r in choosing if r.subject_id not in left_out)
    if validation and not choosing:
        raise ValueError(f"{validation} lists nobody who was held out of training")
    check_apart(test=[r.subject_id for r in test], validation=[r.subject_id for r in choosing])
    return People(partition or recordings.parent.name, test, choosing)


def evaluate_model(
    checkpoint: Path,
    people: People,
    *,
    protocols: Sequence[ProtocolName],
    policy: ThresholdPolicy | None,
    other: Path | None = None,
    device: torch.device,
) -> EvaluationResult:
    """Return every measure of a checkpoint, or of all epochs of a run, on some people.

    Raises:
        CheckpointError: A checkpoint cannot be read.
        ValueError: There is nothing to score.
    """
    epochs, manifest, left_out = _predict_all(checkpoints_of(checkpoint), people, device)
    test = epochs[-1].test
    comparison = None
    notes = []
    if not people.validation:
        notes.append("no validation people: the clean protocol takes the threshold 0.5 unasked")
    if len(epochs) == 1:
        notes.append("one checkpoint: there is no epoch to choose, so 'paper' peeks only once")
    if other is not None:
        comparison = _compare(epochs, other, people, policy, device)
    return EvaluationResult(
        model=model_facts(checkpoint, manifest, len(epochs)),
        data=data_facts(people, test),
        action_units=test.action_units,
        left_out=left_out,
        protocols=run_protocols(epochs, protocols, policy),
        inflation=inflation_rows(epochs),
        epochs=epoch_rows(epochs),
        comparison=comparison,
        notes=tuple(notes),
    )


def _predict_all(
    files: Sequence[Path], people: People, device: torch.device
) -> tuple[list[Epoch], CheckpointManifest, dict[int, str]]:
    """Return what each epoch predicts, for the AUs that can be scored; images are read once."""
    model, manifest = load_detector(files[0])
    aus, size = manifest.action_units, manifest.encoder.image_size
    test = FrameDataset(people.test, size, aus)
    validation = FrameDataset(people.validation, size, aus) if people.validation else None
    epochs = []
    for file in files:
        model, manifest = load_detector(file)
        on_test = predict(model, test, device=device)[0]
        asked = predict(model, validation, device=device)[0] if validation else None
        epochs.append(Epoch(max(manifest.round, 1), on_test, asked))
    left_out = shared_aus(aus, epochs[0].test)
    kept = tuple(au for au in aus if au not in left_out)
    if not kept:
        raise ValueError(f"none of the model's AUs {list(aus)} can be scored on {people.name}")
    narrowed = [
        Epoch(e.number, e.test.only(kept), e.validation.only(kept) if e.validation else None)
        for e in epochs
    ]
    return narrowed, manifest, left_out


def _compare(
    epochs: Sequence[Epoch],
    other: Path,
    people: People,
    policy: ThresholdPolicy | None,
    device: torch.device,
) -> ComparisonResult:
    files = checkpoints_of(other)
    theirs, manifest, _ = _predict_all(files[-1:], people, device)
    shared = tuple(au for au in epochs[-1].test.action_units if au in theirs[-1].test.action_units)
    if not shared:
        raise ValueError("the two models have no AU in common that can be scored")
    mine = clean([_narrow(epochs[-1], shared)], policy)
    yours = clean([_narrow(theirs[-1], shared)], policy)
    found = compare(mine.epoch.test, mine.thresholds, yours.epoch.test, yours.thresholds)
    macro, per_au = measures(yours.epoch.test, yours.thresholds)
    return ComparisonResult(
        other=model_facts(other, manifest, len(files)),
        macro_f1_difference=Measure.of(found.difference),
        p_value=found.p_value,
        num_people=found.num_people,
        other_macro=macro,
        other_per_au=per_au,
    )


def _narrow(epoch: Epoch, aus: tuple[int, ...]) -> Epoch:
    validation = epoch.validation.only(aus) if epoch.validation else None
    return Epoch(epoch.number, epoch.test.only(aus), validation)


def model_facts(path: Path, manifest: CheckpointManifest, num_epochs: int) -> ModelFacts:
    """Return which model it was, its licence with it."""
    return ModelFacts(
        name=path.stem,
        digest=manifest.digest,
        licence=manifest.licence_line(),
        run_id=manifest.run_id,
        num_epochs=num_epochs,
        image_size=manifest.encoder.image_size,
    )


def data_facts(people: People, test: Predictions) -> DataFacts:
    """Return who was tested on, in numbers."""
    positives = ((test.aus > 0.5) & (test.known > 0.5)).sum(axis=0)
    return DataFacts(
        name=people.name,
        num_people=len(np.unique(test.subjects)),
        num_recordings=len(people.test),
        num_frames=len(test.subjects),
        num_validation_people=len({r.subject_id for r in people.validation}),
        positives=dict(zip(test.action_units, positives.tolist(), strict=True)),
        licences=tuple(sorted({r.licence for r in people.test})),
    )
