"""What each way of hiding costs and brings: AUs before and after, and who is still recognised.

The attackers have seen masked pictures of everyone, recorded another time, with names on them: the
strongest case. They look at the pixels of the cut-out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from core_model.data.face import FaceDetector, Image
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.attackers import Evidence, attack
from core_model.evaluation.metrics import Predictions, counts_by_subject, f1_from_counts
from core_model.evaluation.verification import verify
from core_model.predictor import Predictor
from core_model.use.reader import FrameReader
from simulations.mask.reenact import Mask, Pose, pose_of
from simulations.mask.ways import WAYS, Way, hide

LOOKED_AT = 20  # pixels a side that attackers look at
SMALLEST_FOR_POSE = 96  # pixels a side on which points are found


@dataclass(frozen=True)
class WayScore:
    """How one way did. ``original`` is no way at all."""

    way: str
    agreement: float  # share of AU decisions that stayed as they were
    macro_f1: float  # against the labels
    named: float  # frames whose person the better attacker names
    chance: float
    equal_error_rate: float  # 0.5 is guessing


def score(
    listing: Path,
    predictor: Predictor,
    mask: Mask,
    ways: Sequence[Way] = WAYS,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> list[WayScore]:
    """Hide the labelled crops of people in each way and score it; the first row is the original.

    Raises:
        ValueError: There are fewer than eight people, or one has a single recording.
    """
    aus, side = predictor.card.action_units, predictor.recipe.size
    dataset = FrameDataset(read_recordings(listing), side, aus)
    crops = np.concatenate(
        [(b.images * 255).round().byte().permute(0, 2, 3, 1).numpy() for b in dataset.in_order(256)]
    )
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    labels = dataset.aus.numpy(), dataset.known.numpy(), dataset.identities.numpy()
    hidden = {way: np.empty_like(crops) for way in ways}
    reader, detector = FrameReader(predictor, None), FaceDetector()
    for k, cutout in enumerate(crops):
        reading = reader.read(k + 1, 0.0, cutout)[0]
        pose = _pose(detector, cutout)
        for way in ways:
            hidden[way][k] = hide(way, cutout, reading, predictor, mask, pose)
        tell("hiding", k + 1, len(crops))
    before = predictor.decide(predictor.predict(crops).probabilities)
    found = []
    shown: dict[str, Image] = {"original": crops}
    shown.update({str(way): images for way, images in hidden.items()})
    for name, images in shown.items():
        probabilities = predictor.predict(images).probabilities
        p = Predictions(aus, probabilities, *labels)
        f1 = f1_from_counts(counts_by_subject(p, predictor.thresholds).sum(axis=0))
        evidence = Evidence(_pixels(images), labels[2], recordings)
        attacks = [attack("linear", evidence), attack("knn", evidence)]
        best = max(attacks, key=lambda a: a.accuracy.value)
        found.append(
            WayScore(
                name,
                float((predictor.decide(probabilities) == before).mean()),
                float(np.nanmean(f1)),
                best.accuracy.value,
                best.chance,
                verify(evidence).equal_error_rate.value,
            )
        )
        tell("attacking", len(found), len(shown))
    return found


def table(scores: Sequence[WayScore]) -> list[str]:
    """Return the scores as lines of Markdown."""
    head = ["way", "AU decisions kept", "macro F1", "people named", "guessing", "equal error rate"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for s in scores:
        values = (s.agreement, s.macro_f1, s.named, s.chance, s.equal_error_rate)
        lines.append(f"| {s.way} | {' | '.join(f'{v:.3f}' for v in values)} |")
    return lines


def _pixels(images: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    small = [
        cv2.resize(
            cv2.cvtColor(i, cv2.COLOR_RGB2GRAY),
            (LOOKED_AT, LOOKED_AT),
            interpolation=cv2.INTER_AREA,
        )
        for i in images
    ]
    return np.stack(small).reshape(len(images), -1).astype(np.float64)


def _pose(detector: FaceDetector, cutout: Image) -> Pose:
    side = max(SMALLEST_FOR_POSE, cutout.shape[0])
    grown = np.asarray(cv2.resize(cutout, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    faces = detector.detect(grown)
    return pose_of(faces[0].points) if faces else Pose()
