"""Action Units as facial actions: the table that turns FACS intensities into moved vertices.

Each AU (Ekman, Friesen and Hager, FACS, 2002) is a sum of the ARKit-like actions of the CC0 asset
"faceunits01". Weights are those at full intensity (E, 5). Some exceed 1: the assets are subtle, and
AUs 1, 5, 7 and 9 would not be seen in a small image (largest movement 4-5 mm).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION

Floats = NDArray[np.floating]


def _both(action: str, weight: float) -> dict[str, float]:
    return {f"{action}Left": weight, f"{action}Right": weight}


TABLE: Mapping[int, Mapping[str, float]] = {
    1: {"browInnerUp": 2.2},  # frontalis, medial part
    2: _both("browOuterUp", 2.2),  # frontalis, lateral part
    4: _both("browDown", 1.6),  # corrugator and depressor supercilii
    5: _both("eyeWide", 1.5),  # levator palpebrae superioris
    6: _both("cheekSquint", 1.6) | _both("eyeSquint", 0.35),  # orbicularis oculi, orbital part
    7: _both("eyeSquint", 1.0) | _both("eyeBlink", 0.15),  # orbicularis oculi, palpebral part
    9: _both("noseSneer", 1.5) | _both("browDown", 0.25),  # levator labii alaeque nasi
    10: _both("mouthUpperUp", 1.2),  # levator labii superioris
    12: _both("mouthSmile", 1.1),  # zygomaticus major
    14: _both("mouthDimple", 1.6),  # buccinator
    15: _both("mouthFrown", 1.5),  # depressor anguli oris
    17: {"mouthShrugLower": 2.0, "mouthShrugUpper": 0.3},  # mentalis
    20: _both("mouthStretch", 1.4),  # risorius
    23: {"mouthRollLower": 0.9, "mouthRollUpper": 0.9, "mouthPucker": 0.45},  # orbicularis oris
    24: _both("mouthPress", 0.9)
    | {"mouthRollLower": 0.5, "mouthRollUpper": 0.5}
    | _both("mouthFrown", 0.3),  # orbicularis oris
    25: _both("mouthLowerDown", 0.9) | _both("mouthUpperUp", 0.2) | {"jawOpen": 0.07},
    26: {"jawOpen": 0.6},  # masseter relaxed
}
BLINK = _both("eyeBlink", 1.0)
STEPS = (0.06, 0.25, 0.45, 0.65, 0.85)
"""Activation from which the intensities A, B, C, D and E (1 to 5) are coded."""


def intensity(activation: Floats) -> NDArray[np.int8]:
    """Return the FACS intensity, 0-5, of an activation in [0, 1]. Shape: kept."""
    return np.digitize(activation, STEPS).astype(np.int8)


def action_weights(
    activations: Floats, asymmetry: float = 0.0, blink: float = 0.0
) -> dict[str, float]:
    """Return the weight of each facial action.

    Args:
        activations: Of each AU of ``UNION``, 0 to 1. Shape: (17,).
        asymmetry: Added to the left and taken from the right, as a share; faces are never even.
        blink: How far both eyes are closed beyond the AUs, 0 to 1.
    """
    weights: dict[str, float] = {action: blink * w for action, w in BLINK.items() if blink}
    for au, activation in zip(UNION, activations.tolist(), strict=True):
        for action, weight in TABLE[au].items():
            side = 1 + asymmetry * (action.endswith("Left") - action.endswith("Right"))
            weights[action] = weights.get(action, 0.0) + activation * weight * side
    eyes = [a for a in weights if a.startswith("eyeBlink")]
    for action in eyes:  # lids do not close beyond shut
        weights[action] = min(weights[action], 1.0)
    return {action: weight for action, weight in weights.items() if weight}
