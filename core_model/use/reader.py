"""Read the Action Units of every face in a frame.

Shapes: A = action units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_model.data.face import CropRecipe, Face, FaceDetector, Image, crop
from core_model.predictor import UNSURE, Predictor
from core_model.use.adjust import Adjuster
from core_model.use.drift import light_and_contrast
from core_model.use.tracking import FaceTracker

Floats = NDArray[np.floating[Any]]
SMALLEST_FACE = 24  # pixels; below, a face is shown and nothing is said about it


@dataclass(frozen=True, eq=False)
class Reading:
    """One face of one frame."""

    person: int  # 0: the image is a crop, so nobody was told apart
    face: Face | None  # None: the image is a crop
    probabilities: Floats  # (A,)
    occurs: NDArray[np.int8]  # 1, 0 or UNSURE. (A,)
    is_calibrated: bool
    brightness: float = 0.0  # of the crop
    contrast: float = 0.0


class FrameReader:
    """Finds, follows, cuts out and reads faces.

    Args:
        predictor: The model.
        detector: Finds faces; None: images are crops already.
        abstain: See ``Predictor.decide``.
        tracker: Follows faces from frame to frame; None: every image is for itself.
        adjuster: Of people's logits.
    """

    def __init__(
        self,
        predictor: Predictor,
        detector: FaceDetector | None,
        *,
        abstain: float = 0.0,
        tracker: FaceTracker | None = None,
        adjuster: Adjuster | None = None,
    ) -> None:
        self._predictor, self._detector, self._abstain = predictor, detector, abstain
        self._tracker, self._adjuster = tracker, adjuster or Adjuster(None)
        self.card = predictor.card

    def read(self, number: int, time_s: float, image: Image) -> list[Reading]:
        """Return the faces of a frame, the largest first. Shape: (H, W, 3), RGB."""
        found = self._faces(image)
        crops = [self._crop(image, face) for _, face in found]
        if not crops:
            return []
        logits = self._predictor.predict(np.stack(crops)).logits
        readings = []
        for (person, face), mine, cut in zip(found, logits, crops, strict=True):
            adjusted, is_calibrated = self._adjuster.adjust(person, number, time_s, mine)
            probabilities = self._predictor.calibrated(adjusted)
            occurs = self._predictor.decide(probabilities[None], self._abstain)[0]
            if face is not None and min(face.box[2:]) < SMALLEST_FACE:
                occurs = np.full_like(occurs, UNSURE)
            light = light_and_contrast(cut)
            readings.append(Reading(person, face, probabilities, occurs, is_calibrated, *light))
        return readings

    def state(self) -> dict[str, Any]:
        """Return what goes on after an interruption."""
        tracker = self._tracker.state() if self._tracker else None
        return {"tracker": tracker, "adjuster": self._adjuster.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        if self._tracker:
            self._tracker.restore(state["tracker"])
        self._adjuster.restore(state["adjuster"])

    def prime(self, image: Image) -> None:
        """Show the last frame before an interruption again."""
        if self._tracker:
            self._tracker.prime(image)

    def _faces(self, image: Image) -> list[tuple[int, Face | None]]:
        if self._detector is None:
            return [(0, None)]
        if self._tracker is not None:
            return [(track.person, track.face) for track in self._tracker.step(image)]
        return [(k, face) for k, face in enumerate(self._detector.detect(image), start=1)]

    def _crop(self, image: Image, face: Face | None) -> Image:
        recipe = self._predictor.recipe
        if face is not None:
            return crop(image, face, recipe)
        whole = Face(np.array([0, 0, image.shape[1], image.shape[0]], np.float32), _NO_POINTS, 1.0)
        return crop(image, whole, _WHOLE.resized(recipe.size))


_NO_POINTS = np.zeros((5, 2), np.float32)
_WHOLE = CropRecipe("whole", 1, 224, "box")  # the image as it is, sized
