"""A release answers as torch does, says what it is, and is refused when it would not."""

import json

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from core_model.cli import app
from core_model.data.augment import standardise
from core_model.evaluation.model_run import load_detector
from core_model.release.build import ExportRefusedError, build
from core_model.release.card import CARD_KEY, PROHIBITED_USES, parse_card
from core_model.release.fit import fit_temperature, neutral_logits, sigmoid
from core_model.release.onnx_scan import metadata_of
from core_model.release.runtime import Runtime
from tests.core_model.faces import write_site
from tests.core_model.released import AUS, CARD, PURPOSE, order, orl_face, write_checkpoint

RUNNER = CliRunner()


def quiet(_):
    pass


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site") / "site", num_people=6, aus=AUS)


def by_torch(path, faces):
    """The detector as training and evaluation run it, from bytes to logits."""
    model, _ = load_detector(path)
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return model.au_head(model.encoder(standardise(images))).numpy()


@pytest.mark.parametrize("number", [1, 3, 33])
def test_random_crops_give_what_torch_gives(checkpoint, number) -> None:
    content, card = build(order(checkpoint), quiet)
    faces = np.random.default_rng(number).integers(0, 256, (number, 64, 64, 3), np.uint8)
    probabilities, logits = Runtime(content).run(faces)
    want = by_torch(checkpoint, faces)
    assert np.ptp(want, axis=0).max() > 0.1 or number == 1  # faces do make a difference
    np.testing.assert_allclose(logits, want, atol=1e-4)
    np.testing.assert_allclose(probabilities, sigmoid(want), atol=1e-4)
    assert card.max_difference < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_real_faces_give_what_torch_gives(checkpoint, precision) -> None:
    content, _ = build(order(checkpoint, precision=precision), quiet)
    faces = np.stack([orl_face(p, 1, 64)[:64] for p in range(1, 41)])
    difference = np.abs(Runtime(content).run(faces)[1] - by_torch(checkpoint, faces)).max()
    assert difference < {"fp32": 1e-4, "fp16": 0.05}[precision]


def test_a_plain_vit_at_112_pixels_gives_what_torch_gives(tmp_path) -> None:
    path = write_checkpoint(tmp_path / "tiny.safetensors", size="tiny", image_size=112)
    content, _ = build(order(path), quiet)
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    np.testing.assert_allclose(Runtime(content).run(faces)[1], by_torch(path, faces), atol=1e-4)


def test_int8_is_smaller_and_says_what_it_costs(checkpoint, people) -> None:
    plain, _ = build(order(checkpoint, validation=people), quiet)
    told: list[str] = []
    content, card = build(
        order(checkpoint, precision="int8", validation=people, max_f1_loss=0.5), told.append
    )
    assert len(content) < 0.45 * len(plain)
    assert set(card.f1_loss) <= set(AUS)
    assert card.f1_loss
    assert any(line.startswith("F1 loss of int8: macro") for line in told)
    faces = np.stack([orl_face(p, 1, 64)[:64] for p in range(1, 41)])
    one = Runtime(content).run(faces[:1])[1]
    np.testing.assert_array_equal(one[0], Runtime(content).run(faces)[1][0])  # whatever the batch


def test_a_loss_of_f1_beyond_the_bound_is_refused(checkpoint, people) -> None:
    with pytest.raises(ExportRefusedError, match="max-f1-loss"):
        build(order(checkpoint, validation=people, max_f1_loss=-1.0), quiet)


def test_int8_without_crops_is_refused(checkpoint) -> None:
    with pytest.raises(ExportRefusedError, match="--calibration"):
        build(order(checkpoint, precision="int8"), quiet)


def test_people_choose_thresholds_temperature_and_the_neutral_face(checkpoint, people) -> None:
    card = build(order(checkpoint, validation=people), quiet)[1]
    assert card.fit is not None
    assert card.fit.num_people == 6
    assert card.threshold_policy == "val_swept_common"
    assert card.temperature != 1.0
    assert card.statistics is not None
    assert sum(card.statistics.brightness) == card.fit.num_frames
    alone = build(order(checkpoint), quiet)[1]
    assert alone.fit is None
    assert set(alone.thresholds.values()) == {0.5}
    assert alone.statistics is None
    assert alone.neutral_logits == {}


def test_no_histogram_of_a_few_people_leaves(checkpoint, tmp_path) -> None:
    few = write_site(tmp_path / "few", num_people=4, aus=AUS)
    assert build(order(checkpoint, validation=few), quiet)[1].statistics is None


def test_any_reader_of_onnx_finds_card_licence_and_prohibited_uses(tmp_path) -> None:
    path = write_checkpoint(tmp_path / "nc.safetensors", licence="CC-BY-NC-4.0")
    content, card = build(order(path, prohibited_uses=(*PROHIBITED_USES, "advertising")), quiet)
    model = onnx.load_from_string(content)
    found = {p.key: p.value for p in model.metadata_props}
    assert found == metadata_of(content)
    assert found["prohibited_uses"].splitlines() == [*PROHIBITED_USES, "advertising"]
    assert "not for commercial use" in found["licence"]
    assert found["model_card"] == CARD
    assert found["purpose"] == model.doc_string == PURPOSE
    assert parse_card(found) == card
    assert model.opset_import[0].version == card.opset == 17
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param
    assert not batch.dim_value


def test_equal_orders_give_equal_bytes(checkpoint) -> None:
    assert build(order(checkpoint), quiet)[0] == build(order(checkpoint), quiet)[0]


REFUSED = {
    "no purpose": (["--card", "CARD", "--unsigned"], "--purpose"),
    "no card": (["--purpose", PURPOSE, "--unsigned"], "--card"),
    "no signature": (["--purpose", PURPOSE, "--card", "CARD"], "--key"),
    "a purpose of one word": (["--purpose", "x", "--card", "CARD", "--unsigned"], "purpose"),
    "an empty card": (["--purpose", PURPOSE, "--card", "EMPTY", "--unsigned"], "card"),
}


@pytest.mark.parametrize(("options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_release_needs_purpose_card_and_name(checkpoint, tmp_path, options, says) -> None:
    (tmp_path / "CARD").write_text(CARD)
    (tmp_path / "EMPTY").write_text("")
    named = [str(tmp_path / o) if o in ("CARD", "EMPTY") else o for o in options]
    out = tmp_path / "model.onnx"
    done = RUNNER.invoke(app, ["export", str(checkpoint), str(out), "--format", "onnx", *named])
    assert done.exit_code == 1
    assert says in done.output
    assert not out.exists()


def test_the_command_writes_model_and_signature(checkpoint, tmp_path) -> None:
    (tmp_path / "card.md").write_text(CARD)
    assert RUNNER.invoke(app, ["key", "lab", str(tmp_path / "lab.key")]).exit_code == 0
    args = ["export", checkpoint, tmp_path / "m.onnx", "--format", "onnx", "--purpose", PURPOSE]
    args += ["--card", tmp_path / "card.md", "--key", tmp_path / "lab.key"]
    done = RUNNER.invoke(app, [str(a) for a in args])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "m.onnx.sig").read_text().startswith("omote.dev/model/v1\nsha256 ")
    assert json.loads(metadata_of((tmp_path / "m.onnx").read_bytes())[CARD_KEY])["precision"]


@given(st.floats(0.3, 4.0), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_temperature_undoes_overconfidence(scale, seed) -> None:
    chance = np.random.default_rng(seed)
    honest = chance.normal(0, 2, (4000, 2))
    aus = (chance.random(honest.shape) < sigmoid(honest)).astype(float)
    found = fit_temperature(scale * honest, aus, np.ones_like(aus))
    assert found == pytest.approx(scale, rel=0.15)


def test_unknown_labels_neither_fit_nor_count_as_neutral() -> None:
    logits, aus = np.full((20, 2), -1.0), np.zeros((20, 2))
    known = np.ones((20, 2))
    known[:, 1] = 0
    assert neutral_logits(logits, aus, known) is None
    known[:12, 1] = 1
    np.testing.assert_allclose(neutral_logits(logits, aus, known), [-1, -1])
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_temperature(logits, aus, np.zeros((20, 2)))
