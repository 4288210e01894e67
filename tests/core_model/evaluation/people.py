"""Predictions of made-up detectors on made-up people, who differ in rates and in ease."""

import numpy as np

from core_model.evaluation.metrics import Predictions


def predictions(
    seed=0, people=12, frames=30, aus=(1, 2, 4), skill=1.0, spread=0.8, known=0.9, labels_seed=None
):
    """Return predictions; equal ``labels_seed`` gives equal labels, whoever predicts."""
    world = np.random.default_rng([1, seed if labels_seed is None else labels_seed])
    chance = np.random.default_rng([2, seed])
    subjects = np.repeat(np.arange(people), frames)
    rate = 1 / (1 + np.exp(-(world.normal(-0.8, spread, (people, len(aus))))))
    occurs = world.random((len(subjects), len(aus))) < rate[subjects]
    is_known = world.random(occurs.shape) < known
    ease = world.normal(1, 0.5, (people, 1)).clip(0.1)
    evidence = skill * ease[subjects] * (2 * occurs - 1) + chance.normal(0, 1, occurs.shape)
    evidence += chance.normal(0, spread / 2, (people, len(aus)))[subjects]
    probabilities = 1 / (1 + np.exp(-(evidence - 0.5)))
    return Predictions(
        aus, probabilities.round(3), occurs.astype(np.float32), is_known.astype(np.float32),
        subjects,
    )  # fmt: skip
