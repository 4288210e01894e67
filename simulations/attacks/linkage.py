"""Whose face is that? Hand what was drawn from updates to somebody else's recogniser.

Shapes: N = pictures, S = people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core_model.evaluation.attack_result import Row
from core_model.evaluation.bootstrap import draw_people
from core_model.evaluation.metrics import Score
from simulations.attacks.inversion import OPEN, UNDEFENDED, Album, album, as_bytes
from simulations.attacks.recognisers import Recogniser, Vectors, recognisers
from simulations.attacks.setting import Setting

ORIGINAL = "the image itself"


def link(setting: Setting) -> tuple[Row, ...]:
    """Link each drawn picture to photographs of everybody, taken another time."""
    made = album(setting)
    rows: list[Row] = []
    shown = {ORIGINAL: made.hidden[:, 0]} | made.drawn
    found = recognisers()
    for recogniser in found:
        templates = _templates(recogniser, made)
        for against, pictures in shown.items():
            correct = _named(recogniser, templates, pictures)
            drawn = (draw_people(len(correct)) @ correct) / len(correct)
            score = Score.of(float(correct.mean()), drawn, len(correct))
            must = against in (ORIGINAL, OPEN) and recogniser is found[0]
            rows.append(
                Row.of(f"{against}: {recogniser.name}", "named rightly", score, 1 / len(templates),
                       is_baseline=must, is_reference=against in (ORIGINAL, *UNDEFENDED))
            )  # fmt: skip
    return tuple(rows)


def _templates(recogniser: Recogniser, made: Album) -> Vectors:
    """Return a vector of everybody, from pictures of another time. Shape: (S, D)."""
    means = np.stack([recogniser.vectors(as_bytes(i)).mean(axis=0) for i in made.enrolled])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def _named(recogniser: Recogniser, templates: Vectors, pictures: Tensor) -> NDArray[np.bool_]:
    """Tell which pictures are nearest to their own person. Shape: (N, 3, H, W) -> (N,)."""
    nearest = (recogniser.vectors(as_bytes(pictures)) @ templates.T).argmax(axis=1)
    return np.asarray(nearest == np.arange(len(pictures)))
