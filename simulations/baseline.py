"""What needs no training: saying 'always', and how well the labels alone name people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_model.data.labels import read_labels
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.identity import identity_probe
from simulations.data import split_people
from simulations.faces.site import make_face_site
from simulations.scenario import Scenario


@dataclass(frozen=True)
class Baseline:
    """What any trained arm must be read against.

    Attributes:
        always: Macro F1 on new people of predicting every AU in every frame: 2p / (1 + p).
        labels_probe: Share of frames of people in training that a converged linear probe gives to
            the right person from the true AUs of the frame alone. A detector without a single
            mistake says as much about who someone is.
    """

    always: float
    labels_probe: float


def baseline_of(scenario: Scenario, cache: Path) -> Baseline:
    """Return the baseline of a scenario whose faces have been made."""
    specs = scenario.face_specs()

    def folder(group: str) -> Path:
        return make_face_site(specs[group], cache)

    new = [r for s in scenario.sites
           for r in read_recordings(folder(f"unseen-{s.site_id}") / "truth.csv")]  # fmt: skip
    own: list[Recording] = []
    for site in scenario.sites:
        split_people(folder(site.site_id))  # the cache may be a new one
        trained = {r.subject_id for r in read_recordings(folder(site.site_id) / "training.csv")}
        truth = read_recordings(folder(site.site_id) / "truth.csv")
        own += [r for r in truth if r.subject_id in trained]
    rates = np.concatenate(_true_aus(new, scenario)).mean(axis=0)
    return Baseline(float(np.mean(2 * rates / (1 + rates))), _labels_probe(own, scenario))


def _labels_probe(recordings: Sequence[Recording], scenario: Scenario) -> float:
    aus = _true_aus(recordings, scenario)
    lengths = [len(a) for a in aus]
    names = np.unique([r.subject_id for r in recordings], return_inverse=True)[1]
    subjects, numbers = np.repeat(names, lengths), np.repeat(np.arange(len(aus)), lengths)
    return identity_probe(np.concatenate(aus), subjects, numbers).accuracy


def _true_aus(recordings: Sequence[Recording], scenario: Scenario) -> list[NDArray[np.float32]]:
    """Return which AUs occur in each frame of each recording. Shapes: (frames, AUs)."""
    found = []
    for recording in recordings:
        assert recording.labels is not None
        found.append(read_labels(recording.labels).occurrence(scenario.action_units)[0])
    return found
