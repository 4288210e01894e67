"""The skin of a person's face as a picture in canonical coordinates."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.canvas import SIZE, grid, mirrored, noise, strokes
from simulations.faces.person import Person

Floats = NDArray[np.floating]
BROW_HEIGHT = 7.49  # decimetres; the eyes are at 7.28


def skin_texture(person: Person) -> Floats:
    """Return the albedo of the face without hair on the head. Shape: (SIZE, SIZE, 3), RGB 0-1."""
    chance = np.random.default_rng(person.texture_seed)
    x, y = grid()
    mottled = 1 + 0.03 * noise(chance, 32) + 0.018 * noise(chance, 128)
    skin = person.skin * mottled[..., None]
    skin = _tint(skin, _flush(x, y), (0.06, -0.05, -0.05))
    sockets = np.exp(-((np.abs(x) - 0.31) ** 2 / 0.03 + (y - 7.22) ** 2 / 0.012))
    skin = skin * (1 - (0.08 + 0.1 * person.age) * sockets[..., None])
    skin = _marks(skin, person, chance, x, y)
    skin = _over(skin, person.hair * 0.85, _beard(person, chance, x, y))
    skin = _over(skin, person.hair * 0.8, _brows(person, chance))
    return np.clip(skin, 0, 1).astype(np.float32)


def _flush(x: Floats, y: Floats) -> Floats:
    """Cheeks and the tip of the nose are redder."""
    cheeks = np.exp(-((np.abs(x) - 0.42) ** 2 / 0.05 + (y - 6.85) ** 2 / 0.05))
    nose = np.exp(-(x**2 / 0.02 + (y - 6.9) ** 2 / 0.03))
    return (cheeks + 0.7 * nose).astype(np.float32)


def _marks(
    skin: Floats, person: Person, chance: np.random.Generator, x: Floats, y: Floats
) -> Floats:
    """Add freckles and moles."""
    spots = (chance.random((SIZE, SIZE)) < 0.004).astype(np.float32)
    spots = np.clip(cv2.GaussianBlur(spots, (3, 3), 0.8) * 4, 0, 1)
    skin = skin * (1 - person.freckles * 4 * spots[..., None] * np.array([0.5, 0.7, 0.8]))
    for _ in range(person.num_marks):
        at = chance.uniform((-0.6, 6.4), (0.6, 8.0))
        mole = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 0.0004)
        skin = skin * (1 - 0.55 * mole[..., None])
    return skin


def _beard(person: Person, chance: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Return how much beard covers each spot, with clear lips."""
    if not person.beard:
        return np.zeros((SIZE, SIZE), np.float32)
    jaw = _smooth(6.82, 6.6, y - 0.25 * np.clip(np.abs(x) - 0.3, 0, 1))
    moustache = np.exp(-(((y - 6.75) / 0.06) ** 2)) * (np.abs(x) < 0.32)
    mouth = np.exp(-((x / 0.3) ** 4) - ((y - 6.58) / 0.1) ** 4)
    cover = np.clip(jaw + moustache, 0, 1) * (1 - mouth)
    return (person.beard * cover * (0.75 + 0.12 * noise(chance, 128))).astype(np.float32)


def _brows(person: Person, chance: np.random.Generator) -> Floats:
    """Return how much brow hair covers each spot: a soft arc, thinner outwards."""
    thickness, darkness, arch, tilt = person.brow
    along = np.linspace(0, 1, 9)
    heights = BROW_HEIGHT + arch * np.sin(np.pi * along**1.3) + tilt * (along - 0.5) * 0.3
    points = [(0.13 + 0.4 * float(a), float(h)) for a, h in zip(along, heights, strict=True)]
    cover = np.zeros((SIZE, SIZE), np.float32)
    for k in range(8):
        width = thickness * (1.15 - 0.8 * abs(k / 8 - 0.25))
        cover = np.maximum(cover, strokes(mirrored([points[k : k + 2]]), width))
    soft = cv2.GaussianBlur(cover, (0, 0), 1.1)
    return np.clip(soft * darkness * (0.85 + 0.12 * noise(chance, 96)), 0, 1).astype(np.float32)


def _tint(skin: Floats, amount: Floats, colour: tuple[float, float, float]) -> Floats:
    return (skin * (1 + amount[..., None] * np.array(colour))).astype(np.float32)


def _over(below: Floats, colour: Floats, cover: Floats) -> Floats:
    return below * (1 - cover[..., None]) + colour * cover[..., None]


def _smooth(start: float, end: float, value: Floats) -> Floats:
    t = np.clip((value - start) / (end - start), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
