"""Neighbouring replay and the audit of a model, on sound and on broken clippers."""

import json

import pytest
import torch
from typer.testing import CliRunner

from core_model.cli import app
from core_model.config import EncoderConfig
from core_model.nn.iat import IATModel
from core_model.privacy import clipping
from core_model.privacy.replay import replay
from core_model.release.results_file import ResultsError, read_results
from core_model.release.signature import new_key
from core_model.training import audit_run
from core_model.training.audit_run import prepare, run_audit, run_replay
from tests.core_model.released import write_checkpoint

ENCODER = EncoderConfig(image_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2)
AUS = (1, 2, 4)


@pytest.fixture
def canaries(tmp_path):
    torch.manual_seed(0)
    return prepare(IATModel(ENCODER, AUS, 1, audit_run.SETTINGS), 1.0, 60, tmp_path)


def test_nobody_moves_a_step_further_than_promised(canaries) -> None:
    found = run_replay(canaries)
    assert found.holds
    assert found.num_people == audit_run.REPLAYED
    assert found.largest > 0.9


@pytest.mark.parametrize("factor", [1.001, 4.0])
def test_gradients_that_are_too_long_are_found(canaries, monkeypatch, factor) -> None:
    right = clipping.clip_factors
    monkeypatch.setattr(clipping, "clip_factors", lambda *args: factor * 1.02 * right(*args))
    assert not run_replay(canaries).holds


def test_clipping_frames_in_place_of_people_is_found(canaries) -> None:
    frames = canaries.frames[:8]
    owners = torch.arange(8).repeat_interleave(frames.shape[1])
    found = replay(
        canaries.model, [canaries.group], canaries.loss, frames.reshape(-1, 1), "automatic", owners
    )
    assert found.num_people == 8
    assert found.largest > 1.5


def test_an_audit_leaves_the_model_as_it_was_and_finds_missing_noise(canaries) -> None:
    before = {n: p.detach().clone() for n, p in canaries.model.named_parameters()}
    silent = run_audit(canaries, seed=1, noise_share=1e-9)
    assert silent.right == silent.guesses
    assert run_audit(canaries, seed=1).right < silent.right
    for name, weight in canaries.model.named_parameters():
        assert torch.equal(weight, before[name])


def test_the_command_writes_a_result_that_its_key_vouches_for(tmp_path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.safetensors", image_size=32)
    key = new_key("auditor", tmp_path / "a.key")
    out = tmp_path / "audit.json"
    given = ["audit", str(checkpoint), "--out", str(out), "--canaries", "50"]
    result = CliRunner().invoke(app, [*given, "--key", str(tmp_path / "a.key")])
    assert result.exit_code == 0, result.output
    model = json.loads(out.read_text())["model"]
    assert read_results(out, model, [key]) == out.read_bytes()
    with pytest.raises(ResultsError, match="of another model"):
        read_results(out, "1" * 64, [key])
