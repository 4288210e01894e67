"""Re-enactment: a generated person moves as the Action Units, the pose and the light of a real one.

Nothing of the real picture is copied. What goes through is a handful of numbers: an activation for
each AU that the model knows, two angles, and where the light comes from in steps of 15 degrees.

Shapes: S = side of a cut-out in pixels, A = action units of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from core_model.data.face import TEMPLATE, Image
from simulations.faces.facs import STEPS
from simulations.faces.head import load_head
from simulations.faces.person import make_person
from simulations.faces.render import SUPERSAMPLING, Actor, draw
from simulations.faces.scene import make_scene
from simulations.faces.spec import FaceSiteSpec, SiteLook

Floats = NDArray[np.floating[Any]]
SEED = 8_000  # of mask people: nobody in any simulated site
NOSE_DEPTH = 0.55  # of the tip before the eyes, in distances of the eyes
EYES_TO_MOUTH = 1.15  # in distances of the eyes
MAX_ANGLE = 0.45  # radians
STRONGEST = 0.9  # activation at a probability of 1
LIGHT_STEP, MAX_LIGHT = 15, 60  # degrees


@dataclass(frozen=True)
class Pose:
    """Turn of the head in radians; the roll is the cut-out's."""

    yaw: float = 0.0
    pitch: float = 0.0


class Mask:
    """A generated person to hide behind. One for everyone: another for each would tell them apart.

    Args:
        cache: Folder of the generic head.
        person: Which generated person.
        size: Side of the cut-outs in pixels.
    """

    def __init__(self, cache: Path, person: int = 0, size: int = 192) -> None:
        head = load_head(cache)
        self.size = size
        self._actor = Actor(head, make_person(head, SEED, person))

    def draw(self, activations: Floats, pose: Pose, light: int) -> Image:
        """Return a cut-out of the mask. Shapes: (17,) -> (S, S, 3), RGB."""
        look = SiteLook(light_side=light, noise=0.0, blur=0.0, crop_jitter=0.0, occlusion_rate=0.0)
        spec = FaceSiteSpec(
            name="mask", seed=SEED, first_person=0, num_people=1, recording_variation=0.0, look=look
        )
        chance = np.random.default_rng(0)
        scene = make_scene(spec, chance, self.size * SUPERSAMPLING)
        turned = np.array([pose.yaw, pose.pitch, 0.0])
        return draw(self._actor, scene, activations, turned, np.zeros(2), 0.0, self.size, chance)


def activations_of(
    probabilities: Floats, thresholds: Floats, action_units: tuple[int, ...]
) -> Floats:
    """Return activations of all AUs; the threshold becomes the least that counts as occurring.

    Shapes: (A,), (A,) -> (17,). AUs that the model does not know stay at rest.
    """
    found = np.zeros(len(UNION), np.float32)
    for p, threshold, au in zip(probabilities, thresholds, action_units, strict=True):
        if p < threshold:
            value = STEPS[1] * 0.6 * p / threshold
        else:
            share = (p - threshold) / (1 - threshold)
            value = STEPS[1] + 0.1 + (STRONGEST - STEPS[1] - 0.1) * share
        found[UNION.index(au)] = value
    return found


def pose_of(points: Floats) -> Pose:
    """Return the turn of a head from its five points. Shape: (5, 2)."""
    across = points[1] - points[0]
    unit = float(np.linalg.norm(across)) or 1.0
    cos, sin = across / unit
    level = (points - points[:2].mean(axis=0)) @ np.array([[cos, -sin], [sin, cos]]) / unit
    nose, mouth = level[2], level[3:].mean(axis=0)
    side = (nose[0] - mouth[0] / 2) / NOSE_DEPTH
    neutral = (TEMPLATE[2, 1] - TEMPLATE[0, 1]) / (TEMPLATE[3, 1] - TEMPLATE[0, 1])
    down = nose[1] / max(float(mouth[1]), 0.2) - float(neutral)
    return Pose(_angle(side), _angle(down * EYES_TO_MOUTH / NOSE_DEPTH))


def light_of(cutout: Image) -> int:
    """Return where the light comes from, in degrees to the person's left. Shape: (S, S, 3)."""
    grey = cv2.cvtColor(cutout, cv2.COLOR_RGB2GRAY).astype(np.float64)
    side = grey.shape[1]
    middle = grey[side // 4 : -side // 4]
    left, right = middle[:, side // 5 : side // 2], middle[:, side // 2 : -side // 5]
    ratio = np.log((right.mean() + 1) / (left.mean() + 1))
    degrees = float(np.clip(120 * ratio, -MAX_LIGHT, MAX_LIGHT))
    return LIGHT_STEP * round(degrees / LIGHT_STEP)


def _angle(sine: float) -> float:
    return float(np.clip(np.arcsin(np.clip(sine, -0.9, 0.9)), -MAX_ANGLE, MAX_ANGLE))
