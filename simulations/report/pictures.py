"""The pictures of the report: every Action Unit on a few people, and every site."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from core_model.data.recordings import read_recordings
from simulations.faces.contact_sheet import au_sheet, grid_of
from simulations.faces.head import load_head
from simulations.faces.site import make_face_site
from simulations.scenario import Scenario

FACE_SIZE = 96


def au_picture(scenario: Scenario, cache: Path) -> str:
    """Return a sheet of two people showing each AU alone, as a data URL."""
    head = load_head(cache)
    sheet = au_sheet(head, scenario.seed, range(2), FACE_SIZE)
    half = (len(UNION) + 1) // 2 * FACE_SIZE
    rows = [
        part
        for top in range(0, sheet.shape[0], FACE_SIZE)
        for part in (sheet[top : top + FACE_SIZE, :half], sheet[top : top + FACE_SIZE, half:])
    ]
    return data_url(np.concatenate(rows))


def site_picture(scenario: Scenario, group: str, cache: Path, columns: int = 10) -> str:
    """Return one frame of some people of a group, as a data URL."""
    folder = make_face_site(scenario.face_specs()[group], cache)
    recordings = read_recordings(folder / "recordings.csv")
    faces = []
    for recording in recordings[:: max(1, len(recordings) // columns)][:columns]:
        paths = recording.frame_paths()
        image = cv2.imread(str(paths[len(paths) // 2]), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        faces.append(cv2.resize(image, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC))
    return data_url(grid_of([np.asarray(f, np.uint8) for f in faces], columns))


def data_url(image: NDArray[np.uint8]) -> str:
    """Return an image as a JPEG inside a URL."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
