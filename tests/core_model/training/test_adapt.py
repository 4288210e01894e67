"""A detector is brought to a site without labels: what moves, what is believed, what may leave."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from core_model.adaptation import AdaptationConfig
from core_model.checkpoint import (
    CheckpointError,
    CheckpointManifest,
    load_checkpoint,
    save_checkpoint,
)
from core_model.cli import app
from core_model.config import FinetuneConfig, encoder_config
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.model_run import load_detector
from core_model.nn.bottleneck import add_bottlenecks
from core_model.nn.iat import IATModel
from core_model.nn.initial import initial_weights
from core_model.nn.weights import get_arrays, schema_of
from core_model.protocol.messages import digest
from core_model.schema import Role
from core_model.training.adapt import adapt, confident_labels
from core_model.training.adapt_run import run_adaptation
from tests.core_model.faces import write_site

CPU = torch.device("cpu")
AUS = (1, 12)


def detector(seed=3):
    torch.manual_seed(seed)
    model = IATModel(encoder_config("micro"), AUS, 2, FinetuneConfig(drop_path=0.0))
    torch.nn.init.normal_(model.au_head.weight, std=0.3)  # fresh heads answer 0.5 everywhere
    return model.eval()


@pytest.fixture
def listing(tmp_path):
    return write_site(tmp_path / "site", num_people=3, frames=4, aus=AUS)


@pytest.fixture
def faces(listing):
    return FrameDataset(read_recordings(listing), 64)


def moved(trained, faces, seed=1, **changes):
    model = detector()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    config = AdaptationConfig(trained=trained, epochs=1, batch_size=8, **changes)
    adapt(model, faces, config, threshold=0.5, device=CPU, seed=seed)
    after = dict(model.named_parameters())
    return model, {n for n in after if n not in before or not torch.equal(after[n], before[n])}


def test_a_fresh_bottleneck_changes_nothing_and_renames_nothing():
    model, images = detector(), torch.rand(2, 3, 64, 64)
    names, before = set(dict(model.named_parameters())), model(images)[0]
    add_bottlenecks(model.encoder, 4, 0.1)
    assert torch.equal(model(images)[0], before)
    assert names < set(dict(model.named_parameters()))
    with pytest.raises(ValueError, match="bottlenecks already"):
        add_bottlenecks(model.encoder, 4, 0.1)


def test_only_the_weights_that_were_named_move(faces):
    assert all(".bottleneck." in n for n in moved("bottlenecks", faces)[1])
    norms = moved("norms", faces)[1]
    assert norms
    assert all("norm" in n for n in norms)
    everything = moved("all", faces)[1]
    assert "au_head.weight" in everything
    assert norms < everything
    assert not any(n.startswith("identity_head") for n in everything)


def test_equal_seeds_give_equal_weights(faces):
    one, two, other = (moved("bottlenecks", faces, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_a_rare_au_is_believed_as_often_as_a_common_one():
    rare = torch.cat([torch.linspace(0.01, 0.49, 96), torch.tensor([0.51, 0.52, 0.55, 0.6])])
    aus, known = confident_labels(rare[:, None], 0.5, AdaptationConfig(confident_share=0.5))
    assert known.sum() == 50
    assert (known * aus).sum() == 2
    assert known[-1] == known[-2] == 1
    assert known[-3] == known[-4] == 0
    assert known[0] == 1
    assert known[95] == 0


def test_labels_are_not_even_at_hand(listing):
    labelled = FrameDataset(read_recordings(listing), 64, AUS)
    with pytest.raises(ValueError, match="without labels"):
        adapt(detector(), labelled, AdaptationConfig(), threshold=0.5, device=CPU, seed=1)


@pytest.fixture
def checkpoint(tmp_path):
    model = detector()
    schema = schema_of(model).shared("finetuning")
    arrays = get_arrays(model, schema)
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=encoder_config("micro"), action_units=AUS
    )
    save_checkpoint(tmp_path / "base.safetensors", arrays, manifest)
    return tmp_path / "base.safetensors"


def test_wrong_labels_change_nothing(listing, checkpoint, tmp_path):
    config = AdaptationConfig(epochs=1, batch_size=8)
    made = []
    for name in ("right", "wrong"):
        made.append(
            run_adaptation(
                checkpoint, read_recordings(listing), tmp_path / name, config,
                threshold=0.5, device=CPU,
            ).digest
        )  # fmt: skip
        for recording in read_recordings(listing):
            recording.labels.write_text("nonsense\n")
    assert made[0] == made[1]


@pytest.mark.parametrize("trained", ["bottlenecks", "norms", "all"])
def test_the_command_writes_what_evaluation_reads_and_nothing_else_takes(
    trained, listing, checkpoint, tmp_path
):
    out = tmp_path / "adapted.safetensors"
    said = CliRunner().invoke(
        app,
        ["adapt-site", "--checkpoint", str(checkpoint), "--recordings", str(listing),
         "--out", str(out), "--train", trained, "--epochs", "1", "--device", "cpu"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "stays at this site" in said.output
    model, manifest = load_detector(out)
    assert manifest.adaptation.config.trained == trained
    assert manifest.parent == load_checkpoint(checkpoint)[1].digest
    arrays, _ = load_checkpoint(out, allow_adapted=True)
    for name, weight in model.named_parameters():
        if not name.startswith("identity_head."):
            np.testing.assert_array_equal(weight.detach().numpy(), arrays[name])
    with pytest.raises(CheckpointError, match="adapted to one site"):
        load_checkpoint(out)  # a federation, a training, a conversion
    with pytest.raises(CheckpointError, match="stays there"):
        load_detector(out, leaving=True)


def test_bottlenecks_are_not_shared_for_any_purpose():
    model = detector()
    add_bottlenecks(model.encoder, 4, 0.1)
    schema = schema_of(model)
    assert sum(p.role is Role.BOTTLENECK for p in schema.parameters) == 4 * 2
    for purpose in ("pretraining", "finetuning"):
        assert not any(".bottleneck." in p.name for p in schema.shared(purpose).parameters)
    plain = initial_weights(encoder_config("micro"), AUS, 0)[1]
    assert schema.shared("finetuning") == plain.shared("finetuning")


def test_one_step_is_a_run(faces):
    assert moved("norms", faces)[1]
    assert len(faces) <= 24
    whole = AdaptationConfig(trained="norms", epochs=1, batch_size=64)
    assert len(adapt(detector(), faces, whole, threshold=0.5, device=CPU, seed=1)) == 1
