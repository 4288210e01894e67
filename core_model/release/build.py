"""Make a released model of a checkpoint: fit, export, check against torch, quantise, measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_model.checkpoint import CheckpointManifest
from core_model.data.face import RECIPES
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.bootstrap import Floats
from core_model.evaluation.calibration import calibration_scores
from core_model.evaluation.metrics import Predictions
from core_model.evaluation.model_run import load_detector
from core_model.evaluation.thresholds import ThresholdPolicy, choose_thresholds
from core_model.release.card import (
    PROHIBITED_USES,
    CropFacts,
    FitFacts,
    Precision,
    ReleaseCard,
    Statistics,
)
from core_model.release.fit import f1_by_au, fit_temperature, neutral_logits, sigmoid, statistics_of
from core_model.release.graph import OPSET, ReleaseGraph, run_torch, to_onnx, with_metadata
from core_model.release.quantise import to_fp16, to_int8
from core_model.release.runtime import Runtime

Bytes = NDArray[np.uint8]
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 0.05}  # in logits, against torch
NUM_RANDOM = 16  # crops of noise that every export is compared on
MIN_PEOPLE = 5  # whose histograms may go into a file; fewer could be told apart


class ExportRefusedError(Exception):
    """A release is not what it should be, and was not written."""


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    checkpoint: Path
    precision: Precision
    purpose: str
    card: str
    recipe: str  # crop recipe, one of ``core_model.data.face.RECIPES``
    prohibited_uses: tuple[str, ...] = PROHIBITED_USES
    validation: Path | None = None  # labelled people, neither trained nor tested on
    calibration: Path | None = None  # crops for int8; else those of validation
    threshold_policy: ThresholdPolicy = "val_swept_common"
    max_f1_loss: float = 0.01  # of the macro mean


@dataclass(frozen=True)
class Seen:
    """Labelled faces. Shapes: crops (N, S, S, 3); the rest as in ``Predictions``."""

    crops: Bytes
    labels: Predictions  # its probabilities are filled in later
    num_people: int


@dataclass(frozen=True)
class Fit:
    """What was chosen on validation people."""

    thresholds: dict[int, float]
    policy: str
    temperature: float = 1.0
    neutral: dict[int, float] | None = None
    facts: FitFacts | None = None
    statistics: Statistics | None = None


def build(order: Order, tell: Callable[[str], None]) -> tuple[bytes, ReleaseCard]:
    """Return a model with its card.

    Raises:
        ExportRefusedError: It differs from torch, or loses more F1 than allowed.
        CheckpointError: The checkpoint cannot be read.
        ValueError: An option does not fit, or a list is damaged. Also pydantic's, of the card.
    """
    model, manifest = load_detector(order.checkpoint, leaving=True)
    side = manifest.encoder.image_size
    people = _read(order.validation, manifest) if order.validation else None
    graph = ReleaseGraph(model, 1.0)
    fit = _fit(graph, people, order.threshold_policy, manifest)
    graph.temperature = fit.temperature
    crops = _probe(side) if people is None else np.concatenate([_probe(side), people.crops[:48]])
    plain = to_onnx(graph, side)
    difference = _difference(plain, graph, crops)
    _bound(difference, "fp32")
    tell(f"fp32 against torch on {len(crops)} crops: logits differ by {difference:.1e} at most")
    content = plain
    if order.precision == "fp16":
        content = to_fp16(plain)
    elif order.precision == "int8":
        content = to_int8(plain, _calibration(order, people, manifest))
    if order.precision != "fp32":
        difference = _difference(content, graph, crops)
        _bound(difference, order.precision)
        tell(f"{order.precision} against torch: logits differ by {difference:.2g} at most")
    loss = _f1_loss(plain, content, people, fit) if people else {}
    _tell_loss(loss, order, tell)
    card = _card(order, manifest, fit, difference, loss)
    return with_metadata(content, card.metadata()), card


def _read(listing: Path, manifest: CheckpointManifest) -> Seen:
    aus, side = manifest.action_units, manifest.encoder.image_size
    dataset = FrameDataset(read_recordings(listing), side, aus)
    crops = [
        (batch.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for batch in dataset.in_order(256)
    ]
    known = dataset.known.numpy()
    empty = np.zeros((len(dataset), len(aus)), np.float32)
    people = dataset.identities.numpy()
    labels = Predictions(aus, empty, dataset.aus.numpy(), known, people)
    return Seen(np.concatenate(crops), labels, len(dataset.subjects))


def _fit(
    graph: ReleaseGraph, people: Seen | None, policy: ThresholdPolicy, manifest: CheckpointManifest
) -> Fit:
    aus = manifest.action_units
    if people is None:
        return Fit(dict.fromkeys(aus, 0.5), "fixed_0.5")
    logits, labels = run_torch(graph, people.crops)[1], people.labels
    temperature = fit_temperature(logits, labels.aus, labels.known)
    found = replace(labels, probabilities=sigmoid(logits / temperature))
    thresholds = choose_thresholds(policy, found, found)
    f1 = f1_by_au(found, thresholds)
    neutral = neutral_logits(logits, labels.aus, labels.known)
    statistics = None
    if people.num_people >= MIN_PEOPLE:
        grey = people.crops.mean(axis=3)
        statistics = statistics_of(
            aus, found.probabilities, grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
        )
    return Fit(
        dict(zip(aus, thresholds.tolist(), strict=True)),
        policy,
        temperature,
        None if neutral is None else dict(zip(aus, neutral.tolist(), strict=True)),
        FitFacts(
            num_people=people.num_people,
            num_frames=len(people.crops),
            macro_f1=float(np.mean(list(f1.values()))),
            calibration_error=calibration_scores(found).macro_error.value,
        ),
        statistics,
    )


def _calibration(order: Order, people: Seen | None, manifest: CheckpointManifest) -> Bytes:
    if order.calibration is None:
        if people is None:
            raise ExportRefusedError(
                "int8 fixes ranges by looking at crops: name recordings with --calibration "
                "(of people who agreed to this, or generated ones)"
            )
        return people.crops
    dataset = FrameDataset(read_recordings(order.calibration), manifest.encoder.image_size)
    batches = [
        (b.images * 255).round().byte().permute(0, 2, 3, 1).numpy() for b in dataset.in_order(256)
    ]
    return np.concatenate(batches)


def _probe(side: int) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, (NUM_RANDOM, side, side, 3), np.uint8)


def _difference(content: bytes, graph: ReleaseGraph, crops: Bytes) -> float:
    return float(np.abs(Runtime(content).run(crops)[1] - run_torch(graph, crops)[1]).max())


def _bound(difference: float, precision: Precision) -> None:
    allowed = MAX_DIFFERENCE.get(precision, np.inf)  # of int8, F1 is what counts
    if not difference <= allowed:
        raise ExportRefusedError(
            f"{precision} differs from torch by {difference:.2g} in logits, allowed are "
            f"{allowed:g}: not written"
        )


def _f1_loss(plain: bytes, content: bytes, people: Seen, fit: Fit) -> dict[int, float]:
    thresholds: Floats = np.array([fit.thresholds[au] for au in people.labels.action_units])
    before, after = (
        f1_by_au(replace(people.labels, probabilities=Runtime(c).run(people.crops)[0]), thresholds)
        for c in (plain, content)
    )
    return {au: before[au] - after[au] for au in before}


def _tell_loss(loss: dict[int, float], order: Order, tell: Callable[[str], None]) -> None:
    if not loss:
        if order.precision != "fp32":
            tell("F1 loss: not measured; name labelled people with --validation")
        return
    macro = float(np.mean(list(loss.values())))
    tell(f"F1 loss of {order.precision}: macro {macro:+.4f}")
    tell("  " + ", ".join(f"AU{au} {value:+.4f}" for au, value in loss.items()))
    if macro > order.max_f1_loss:
        raise ExportRefusedError(
            f"macro F1 falls by {macro:.4f}, allowed are {order.max_f1_loss:g} (--max-f1-loss): "
            "not written. More crops for --calibration may help; fp16 loses less"
        )


def _card(
    order: Order, manifest: CheckpointManifest, fit: Fit, difference: float, loss: dict[int, float]
) -> ReleaseCard:
    recipe = RECIPES[order.recipe]
    facts: dict[str, Any] = {"neutral_logits": fit.neutral or {}, "f1_loss": loss}
    return ReleaseCard(
        purpose=order.purpose,
        card=order.card,
        prohibited_uses=order.prohibited_uses,
        licence=manifest.licence_line(),
        weights=manifest.digest,
        run_id=manifest.run_id,
        round=manifest.round,
        precision=order.precision,
        opset=OPSET,
        action_units=manifest.action_units,
        crop=CropFacts(name=recipe.name, version=recipe.version, size=manifest.encoder.image_size),
        thresholds=fit.thresholds,
        threshold_policy=fit.policy,
        temperature=fit.temperature,
        fit=fit.facts,
        max_difference=difference,
        statistics=fit.statistics,
        **facts,
    )
