from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from core_model.data.face import FaceDetector
from tests.fixtures import data_sets

WRITERS = {
    "bp4d": data_sets.write_bp4d,
    "bp4d_plus": data_sets.write_bp4d_plus,
    "disfa": data_sets.write_disfa,
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    cv2.setNumThreads(1)
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="session")
def written(cache, tmp_path_factory):
    """Return a data set by name, written once."""
    made: dict[str, data_sets.Written] = {}

    def get(name: str) -> data_sets.Written:
        if name not in made:
            made[name] = WRITERS[name](tmp_path_factory.mktemp(name) / "data", cache)
        return made[name]

    return get
