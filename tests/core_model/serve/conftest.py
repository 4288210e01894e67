"""A signed model with its permit, and a studio of it."""

from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest

from core_model.release.model_file import write_model
from core_model.release.signature import new_key
from core_model.serve.running import Given, open_studio
from core_model.use.hide import HIDERS, SIDE
from tests.core_model.released import permit_of, release_bytes, scene


@pytest.fixture(scope="session")
def given(tmp_path_factory) -> Given:
    root = tmp_path_factory.mktemp("given")
    (root / "trusted").write_text(new_key("lab", root / "lab.key").text + "\n")
    write_model(root / "m.onnx", release_bytes(tmp_path_factory.getbasetemp()), root / "lab.key")
    (root / "use.permit").write_text(permit_of())
    return Given(root / "m.onnx", root / "use.permit", str(root / "trusted"))


@pytest.fixture
def studio(given):
    return open_studio(given, lambda _: HIDERS, lambda _: None, SIDE)


def picture(image, ending=".png") -> bytes:
    """Return an image as a file."""
    return cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.fixture(scope="session")
def two() -> bytes:
    """A picture of two people."""
    return picture(scene(0))


def options(given: Given) -> list[str]:
    """Return how ``given`` is typed."""
    named = [str(given.model), "--permit", str(given.permit), "--trust", str(given.trust)]
    assert Path(named[0]).exists()
    return named


def now() -> datetime:
    return datetime.now(UTC)
