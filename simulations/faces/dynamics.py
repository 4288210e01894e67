"""How a face moves during a recording: AU activations, head pose, gaze and blinks over time.

AUs come from smooth random walks with each person's own thresholds and moods, so they have onset,
apex and offset, go together in a person's own way, and start from a neutral face.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from simulations.faces.facs import STEPS
from simulations.faces.person import Person
from simulations.faces.spec import FaceSiteSpec

Floats = NDArray[np.floating]
MEMORY = 0.6  # correlation of two neighbouring frames
NEUTRAL_SHARE = 0.08  # of a recording, at its start
SOFTNESS = 0.3  # how wide, in deviations, an onset is around its threshold


@dataclass(frozen=True)
class Motion:
    """Shapes, T frames: activations (T, 17); pose (T, 3) and gaze (T, 2) in radians; blink (T,)."""

    activations: Floats
    pose: Floats  # yaw, pitch, roll
    gaze: Floats
    blink: Floats


def tendencies(person: Person, spec: FaceSiteSpec) -> Floats:
    """Return the share of frames in which this person shows each AU. Shape: (17,)."""
    base = np.array([spec.base_rates[au] for au in UNION])
    logits = np.log(base / (1 - base)) + spec.shortcut_strength * person.au_bias
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def make_motion(person: Person, spec: FaceSiteSpec, chance: np.random.Generator) -> Motion:
    """Return the motion of one recording."""
    frames = spec.frames_per_recording
    shared = min(0.75, 0.35 * spec.shortcut_strength)  # share of the movement that follows moods
    loadings = person.au_habits / np.linalg.norm(person.au_habits, axis=1, keepdims=True)
    moods = _walk(chance, frames, 3) @ loadings.T
    drive = np.sqrt(1 - shared**2) * _walk(chance, frames, len(UNION)) + shared * moods
    rates = np.clip(tendencies(person, spec) / (1 - NEUTRAL_SHARE), 0.005, 0.97)
    thresholds = np.array([NormalDist().inv_cdf(1 - float(r)) for r in rates])
    activations = _activation(drive - thresholds) * _awake(frames)[:, None]
    variation = spec.recording_variation
    rest = variation * chance.normal(0, (0.12, 0.07, 0.03))
    sway = _walk(chance, frames, 3) * (0.07, 0.045, 0.02)
    return Motion(
        activations=activations.astype(np.float32),
        pose=np.clip(rest + sway, -0.45, 0.45).astype(np.float32),
        gaze=(_walk(chance, frames, 2) * (0.16, 0.09)).astype(np.float32),
        blink=np.where(chance.random(frames) < 0.05, chance.uniform(0.5, 1, frames), 0.0).astype(
            np.float32
        ),
    )


def _walk(chance: np.random.Generator, frames: int, width: int) -> Floats:
    """Return smooth noise over time, mean 0 and deviation 1 (Ornstein-Uhlenbeck). (T, width)."""
    values = np.empty((frames, width))
    values[0] = chance.normal(size=width)
    for t in range(1, frames):
        step = chance.normal(size=width)
        values[t] = MEMORY * values[t - 1] + np.sqrt(1 - MEMORY**2) * step
    return values


def _activation(margin: Floats) -> Floats:
    """Return the activation ``margin`` deviations above the threshold, where occurrence starts."""
    onset = np.clip(margin / SOFTNESS + 1, 0, None)  # 1 at the threshold
    return np.where(margin < 0, STEPS[1] * onset**2, np.minimum(1, STEPS[1] + 0.25 + 0.5 * margin))


def _awake(frames: int) -> Floats:
    """Return 0 for the neutral start of a recording, then 1. Shape: (T,)."""
    return (np.arange(frames) >= round(NEUTRAL_SHARE * frames)).astype(np.float32)
