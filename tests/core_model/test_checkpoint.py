import numpy as np
import pytest
from typer.testing import CliRunner

from core_model.checkpoint import (
    CheckpointError,
    CheckpointManifest,
    load_checkpoint,
    manifest_path,
    save_checkpoint,
)
from core_model.cli import app
from core_model.config import encoder_config
from core_model.protocol.messages import digest
from core_model.schema import ParameterSchema, ParameterSpec, Role

SCHEMA = ParameterSchema(
    parameters=(ParameterSpec(name="encoder.w", shape=(2, 3), role=Role.ENCODER),)
)


def save(path, value=1.0):
    arrays = {"encoder.w": np.full((2, 3), value, np.float32)}
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=SCHEMA, encoder=encoder_config("micro"), action_units=(1,)
    )
    save_checkpoint(path, arrays, manifest)
    return arrays, manifest


def test_round_trip(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    arrays, manifest = save(path)
    got, found = load_checkpoint(path)
    assert found == manifest
    assert np.array_equal(got["encoder.w"], arrays["encoder.w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]


def test_swapped_weights_are_found(tmp_path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save(one)
    save(other, 2.0)
    one.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match="different checkpoints"):
        load_checkpoint(one)


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_torn_weights_are_found(tmp_path, keep) -> None:
    path = tmp_path / "model.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_missing_manifest(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save(path)
    manifest_path(path).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)


def test_weights_that_the_manifest_does_not_list(tmp_path) -> None:
    arrays = {"encoder.other": np.zeros((2, 3), np.float32)}
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=SCHEMA, encoder=encoder_config("micro"), action_units=(1,)
    )
    save_checkpoint(tmp_path / "m.safetensors", arrays, manifest)
    with pytest.raises(CheckpointError, match="missing"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_commands(tmp_path) -> None:
    path = str(tmp_path / "initial.safetensors")
    run = CliRunner()
    made = run.invoke(app, ["init", path, "--size", "micro", "--aus", "12,6,25"])
    assert made.exit_code == 0, made.output
    assert "6 Cheek raiser, 12 Lip corner puller" in run.invoke(app, ["show", path]).output
    wrong = run.invoke(app, ["init", path, "--size", "micro", "--aus", "3"])
    assert (wrong.exit_code, "unknown action units" in wrong.output) == (1, True)
