"""Pictures of many faces on one sheet, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from simulations.faces.head import Head
from simulations.faces.person import make_person
from simulations.faces.render import SUPERSAMPLING, Actor, draw
from simulations.faces.scene import make_scene
from simulations.faces.spec import FaceSiteSpec, SiteLook

Image = NDArray[np.uint8]


def au_sheet(head: Head, seed: int, people: Sequence[int], size: int = 128) -> Image:
    """Return one row a person: neutral, then each AU of ``UNION`` alone at full intensity."""
    look = SiteLook(noise=0.0, blur=0.0, crop_jitter=0.0, occlusion_rate=0.0)
    spec = FaceSiteSpec(
        name="sheet", seed=seed, first_person=0, num_people=1, recording_variation=0.0, look=look
    )
    rows = []
    for number in people:
        actor = Actor(head, make_person(head, seed, number))
        chance = np.random.default_rng(0)
        scene = make_scene(spec, chance, size * SUPERSAMPLING)
        still = np.zeros(3), np.zeros(2), 0.0
        faces = [
            labelled(draw(actor, scene, activations, *still, size, chance), title)
            for title, activations in _poses()
        ]
        rows.append(np.concatenate(faces, axis=1))
    return np.concatenate(rows)


def grid_of(images: Sequence[Image], columns: int) -> Image:
    """Return images side by side, the last row filled with white."""
    blank = np.full_like(images[0], 255)
    padded = [*images, *[blank] * (-len(images) % columns)]
    rows = [np.concatenate(padded[k : k + columns], 1) for k in range(0, len(padded), columns)]
    return np.concatenate(rows)


def labelled(image: Image, title: str) -> Image:
    """Return ``image`` with ``title`` in its corner."""
    image = np.ascontiguousarray(image)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 160), 1)):
        cv2.putText(
            image, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA
        )
    return image


def _poses() -> list[tuple[str, NDArray[np.float32]]]:
    neutral = np.zeros(len(UNION), np.float32)
    single = np.eye(len(UNION), dtype=np.float32)
    return [("neutral", neutral), *((f"AU{au}", single[k]) for k, au in enumerate(UNION))]
