"""What surrounds the face in one recording: light, camera, background, and things in front."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.spec import FaceSiteSpec, SiteLook

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scene:
    """Fixed during a recording. Directions are unit vectors; colours RGB 0-1."""

    light: Floats  # towards the main light. (3,)
    ambient: float
    key: float
    tint: Floats  # of all light. (3,)
    exposure: float
    background: Floats  # (S, S, 3)
    camera_distance: float  # in distances of the eyes
    camera_pitch: float  # radians
    crop_shift: Floats  # of the cut-out, in shares of the side. (2,)
    crop_zoom: float
    noise: float
    blur: float
    occluder: Floats | None  # (S, S, 4): colour and cover


def make_scene(spec: FaceSiteSpec, chance: np.random.Generator, size: int) -> Scene:
    """Return the scene of one recording at a site, ``size`` pixels a side."""
    look, vary = spec.look, spec.recording_variation
    side = np.radians(look.light_side + vary * chance.normal(0, 18))
    height = np.radians(look.light_height + vary * chance.normal(0, 10))
    light = np.array([np.sin(side) * np.cos(height), np.sin(height), np.cos(side) * np.cos(height)])
    contrast = float(np.clip(look.contrast + vary * chance.normal(0, 0.06), 0.05, 0.9))
    warmth = look.warmth + vary * chance.normal(0, 0.08)
    exposure = look.exposure * float(np.exp(vary * chance.normal(0, 0.07)))
    occluded = chance.random() < look.occlusion_rate
    return Scene(
        light=light,
        ambient=0.85 - 0.5 * contrast,
        key=0.25 + 0.55 * contrast,
        tint=1 + warmth * np.array([0.09, 0.0, -0.12]),
        exposure=exposure,
        background=_background(look, chance, size, vary),
        camera_distance=float(chance.uniform(11, 18)),
        camera_pitch=float(np.radians(look.camera_height)),
        crop_shift=chance.normal(0, look.crop_jitter, 2),
        crop_zoom=float(1 + chance.normal(0, look.crop_jitter)),
        noise=look.noise,
        blur=look.blur,
        occluder=_occluder(chance, size) if occluded else None,
    )


def _background(look: SiteLook, chance: np.random.Generator, size: int, vary: float) -> Floats:
    colour = np.array(look.background_colour) + vary * chance.normal(0, 0.03, 3)
    cells = {"plain": 1, "gradient": 2, "clutter": 5}[look.background]
    spread = {"plain": 0.0, "gradient": 0.12, "clutter": 0.3}[look.background]
    coarse = colour * (1 + spread * chance.normal(0, 1, (cells, cells, 1)))
    coarse = np.clip(coarse, 0.02, 1).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _occluder(chance: np.random.Generator, size: int) -> Floats:
    """Return a hand, cup or scarf in front of a part of the face. Shape: (size, size, 4)."""
    cover = np.zeros((size, size), np.uint8)
    centre = chance.uniform((0.1, 0.62), (0.9, 0.95)) * size
    axes = chance.uniform((0.1, 0.08), (0.22, 0.2)) * size
    cv2.ellipse(
        cover,
        (int(centre[0]), int(centre[1])),
        (int(axes[0]), int(axes[1])),
        float(chance.uniform(0, 180)),
        0,
        360,
        (255,),
        -1,
        cv2.LINE_AA,
    )
    soft = cv2.GaussianBlur(cover, (0, 0), size / 90).astype(np.float32) / 255
    colour = chance.uniform(0.2, 0.7) * (1 + chance.normal(0, 0.12, 3))
    return np.concatenate([np.broadcast_to(colour, (size, size, 3)), soft[..., None]], axis=2)
