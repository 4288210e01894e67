"""Thousands of mutated images, videos and model files: no crash, no hang, no growth of memory."""

import json
import subprocess
import sys

import pytest

from core_model.release.model_file import write_model
from tests.core_model.released import release_bytes

MAX_GROWTH_MIB = 24

QUICK = {"image": 600, "video": 60, "model": 25}
ALL = {"image": 8000, "video": 900, "model": 600}


def fuzzed(kind, first, count, folder, root):
    if kind == "model":
        write_model(folder / "m.onnx", release_bytes(root), None)
    command = [sys.executable, "-m", "tests.core_model.use.fuzzing", kind, str(folder)]
    done = subprocess.run(
        [*command, str(first), str(count)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=1200,
    )
    at = (folder / "at").read_text()
    assert done.returncode == 0, f"{kind} {at}: {done.returncode}\n{done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def check(found) -> None:
    assert found["refused"] > found["count"] * 0.05
    assert found["read"] > 0
    assert found["grown_mib"] < MAX_GROWTH_MIB


@pytest.mark.parametrize(("kind", "count"), QUICK.items(), ids=QUICK.keys())
def test_some_hundreds_of_mutated_files(kind, count, tmp_path, tmp_path_factory) -> None:
    check(fuzzed(kind, 0, count, tmp_path, tmp_path_factory.getbasetemp()))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), ALL.items(), ids=ALL.keys())
def test_thousands_of_mutated_files(kind, count, tmp_path, tmp_path_factory) -> None:
    check(fuzzed(kind, 10_000, count, tmp_path, tmp_path_factory.getbasetemp()))
