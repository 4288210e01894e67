"""What no detector needs to be trained for: saying 'always'."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core_model.data.labels import read_labels
from core_model.data.recordings import read_recordings
from simulations.faces.site import make_face_site
from simulations.scenario import Scenario


def f1_of_always(scenario: Scenario, cache: Path) -> float:
    """Return the macro F1 on new people of predicting every AU in every frame: 2p / (1 + p).

    Any trained arm must be read against this, not against zero.
    """
    occurs = []
    specs = scenario.face_specs()
    for site in scenario.sites:
        folder = make_face_site(specs[f"unseen-{site.site_id}"], cache)
        for recording in read_recordings(folder / "truth.csv"):
            assert recording.labels is not None
            occurs.append(read_labels(recording.labels).occurrence(scenario.action_units)[0])
    rates = np.concatenate(occurs).mean(axis=0)
    return float(np.mean(2 * rates / (1 + rates)))
