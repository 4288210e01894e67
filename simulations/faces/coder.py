"""The human coder: turns activations into FACS labels, with the mistakes that coders make."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from core_model.data.labels import UNKNOWN, Labels
from simulations.faces.facs import intensity
from simulations.faces.spec import FaceSiteSpec


def true_labels(activations: NDArray[np.float32]) -> Labels:
    """Return the intensities of all AUs as they are. Shape of activations: (T, 17)."""
    frames = np.arange(1, len(activations) + 1)
    return Labels(UNION, frames, intensity(activations))


def coded_labels(truth: Labels, spec: FaceSiteSpec, chance: np.random.Generator) -> Labels:
    """Return what this site's coder wrote down: its own AUs, some wrong, some left open."""
    columns = [UNION.index(au) for au in spec.labelled_aus]
    values = truth.intensities[:, columns].copy()
    wrong = chance.random(values.shape) < spec.coder_noise
    change = chance.choice(np.array([-2, -1, 1, 2]), values.shape)
    values = np.where(wrong, np.clip(values + change, 0, 5), values)
    values[chance.random(values.shape) < spec.unknown_rate] = UNKNOWN
    return Labels(spec.labelled_aus, truth.frames, values.astype(np.int8))
