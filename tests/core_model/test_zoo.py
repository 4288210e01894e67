"""The model that comes with Omote: what it is, that it works, that a swap is noticed."""

import hashlib

import numpy as np
import pytest
from typer.testing import CliRunner

from core_model.cli import app
from core_model.commands import zoo
from core_model.release.card import parse_card
from core_model.release.onnx_scan import metadata_of
from core_model.release.runtime import Runtime

run = CliRunner()


@pytest.mark.parametrize("name", sorted(zoo.models()))
def test_a_model_of_the_zoo_is_small_free_and_says_what_it_cannot_do(name) -> None:
    content = (zoo.ZOO / f"{name}.onnx").read_bytes()
    assert len(content) < 10_000_000
    assert hashlib.sha256(content).hexdigest() == zoo.models()[name]
    card = parse_card(metadata_of(content))
    assert card.licence.startswith("Apache-2.0")
    assert "**Cannot.** Nothing is known about real faces" in card.card
    assert card.fit is not None
    assert card.fit.num_people >= 20


def test_the_zoo_lists_shows_and_copies(tmp_path) -> None:
    assert "zoo_micro" in run.invoke(app, ["zoo"]).output
    copied = tmp_path / "model.onnx"
    shown = run.invoke(app, ["zoo", "zoo_micro", "--out", str(copied)])
    assert shown.exit_code == 0
    assert "AUs: 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26" in shown.output
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    probabilities, _ = Runtime(copied.read_bytes()).run(crops)
    assert probabilities.shape == (2, 12)
    unknown = run.invoke(app, ["zoo", "large"])
    assert unknown.exit_code == 1
    assert "there are: zoo_micro" in unknown.output


def test_a_swapped_model_is_neither_shown_nor_copied(tmp_path, monkeypatch) -> None:
    for file in zoo.ZOO.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / "zoo_micro.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "zoo_micro.onnx").write_bytes(content)
    monkeypatch.setattr(zoo, "ZOO", tmp_path)
    out = tmp_path / "copy.onnx"
    refused = run.invoke(app, ["zoo", "zoo_micro", "--out", str(out)])
    assert refused.exit_code == 4
    assert "not the file that came with Omote" in refused.output
    assert not out.exists()
