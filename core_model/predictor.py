"""From crops of faces to Action Units, by a released model. No torch: onnxruntime and numpy.

    model = read_model(Path("model.onnx"), keys)
    predictor = Predictor(model)
    scores = predictor.predict(crops)
    occurs = predictor.decide(scores.probabilities)

Shapes: N = faces, S = side of a crop in pixels, A = action units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_model.data.face import RECIPES, CropRecipe
from core_model.release.model_file import ModelFileError, ReleasedModel
from core_model.release.runtime import Runtime, RuntimeRefusedError

Floats = NDArray[np.floating[Any]]
UNSURE = -1


@dataclass(frozen=True)
class Scores:
    """What a model says. Shape: (N, A) each."""

    probabilities: Floats
    logits: Floats


class Predictor:
    """A released model, ready to run.

    Args:
        model: From ``core_model.release.model_file.read_model``.
        threads: Processor cores to use.

    Raises:
        ModelFileError: It cannot run here, or needs a crop recipe that is not known here.
    """

    def __init__(self, model: ReleasedModel, threads: int = 1) -> None:
        self.card = model.card
        self.recipe = recipe_of(model)
        self.thresholds = np.array([self.card.thresholds[au] for au in self.card.action_units])
        try:
            self._runtime = Runtime(model.content, threads)
            self.predict(np.zeros((1, self.recipe.size, self.recipe.size, 3), np.uint8))
        except RuntimeRefusedError as e:
            raise ModelFileError(f"{model.name}: {e}") from e

    def predict(self, crops: NDArray[np.uint8]) -> Scores:
        """Return probabilities and logits. Shape: (N, S, S, 3), RGB bytes.

        Raises:
            ValueError: The crops are of another size.
            RuntimeRefusedError: The model answers with something else than it says.
        """
        side, width = self.recipe.size, len(self.card.action_units)
        if crops.shape[1:] != (side, side, 3) or crops.dtype != np.uint8:
            raise ValueError(
                f"expected crops of bytes (N, {side}, {side}, 3), got {crops.dtype} {crops.shape}"
            )
        if not len(crops):
            return Scores(np.zeros((0, width), np.float32), np.zeros((0, width), np.float32))
        probabilities, logits = self._runtime.run(crops)
        if probabilities.shape != (len(crops), width) or logits.shape != probabilities.shape:
            raise RuntimeRefusedError(
                f"expected {width} numbers a face, as the card has AUs, got {logits.shape}"
            )
        return Scores(probabilities, logits)

    def calibrated(self, logits: Floats) -> Floats:
        """Return the probabilities of changed logits. Shape: kept."""
        return 0.5 * (1 + np.tanh(0.5 * logits / self.card.temperature))

    def decide(self, probabilities: Floats, abstain: float = 0.0) -> NDArray[np.int8]:
        """Return 1, 0 or ``UNSURE``. Shape: kept, (N, A).

        Args:
            probabilities: Of each AU.
            abstain: Say nothing where a probability is closer than this to its threshold.
        """
        found = (probabilities >= self.thresholds).astype(np.int8)
        is_unsure = (np.abs(probabilities - self.thresholds) < abstain) | np.isnan(probabilities)
        return np.where(is_unsure, np.int8(UNSURE), found)


def recipe_of(model: ReleasedModel) -> CropRecipe:
    """Return the crop recipe that a model asks for.

    Raises:
        ModelFileError: This version of Omote does not have it.
    """
    want = model.card.crop
    known = RECIPES.get(want.name)
    if known is None or known.version != want.version:
        raise ModelFileError(
            f"{model.name}: needs faces cut by {want.name} version {want.version}, known here are "
            f"{', '.join(f'{r.name} version {r.version}' for r in RECIPES.values())}; update omote"
        )
    return known.resized(want.size)
