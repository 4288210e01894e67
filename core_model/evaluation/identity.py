"""How much identity a frozen feature holds: a linear probe, trained until it has converged.

The probe names people from features of recordings that it was not trained on. It reproduces the
paper's measure (arXiv 2407.11243, section 4) with a converged attacker instead of 20 epochs. Quick;
the whole suite of attackers is ``core_model.evaluation.identity_run``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core_model.evaluation.attackers import enrolled_frames


@dataclass(frozen=True)
class Probe:
    """Share of frames given to the right person, and what guessing gets."""

    accuracy: float
    chance: float
    num_subjects: int


def identity_probe(
    features: NDArray[np.floating],
    subjects: NDArray[np.int64],
    recordings: NDArray[np.int64],
    *,
    inverse_regularisation: float = 1.0,
) -> Probe:
    """Train a linear probe on the first half of each person's recordings, test it on the rest.

    Args:
        features: Shape: (N, D).
        subjects: Who is in each frame. Shape: (N,).
        recordings: Which recording each frame is from. Shape: (N,).
        inverse_regularisation: scikit-learn's ``C`` of the logistic regression.

    Raises:
        ValueError: A person has one recording only, so that nothing can be held out.
    """
    enrolled = enrolled_frames(subjects, recordings)
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=inverse_regularisation, max_iter=1000)
    )
    probe.fit(features[enrolled], subjects[enrolled])
    accuracy = float(probe.score(features[~enrolled], subjects[~enrolled]))
    most_common = np.bincount(subjects[~enrolled]).max() / (~enrolled).sum()
    return Probe(accuracy, float(most_common), len(np.unique(subjects)))
