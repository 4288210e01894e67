"""Low-rank adapters: put in they change nothing, melted in they change nothing."""

import io

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from core_model.adapting import merged, with_adapters
from core_model.checkpoint import CheckpointError, CheckpointManifest, load_checkpoint
from core_model.checkpoint import save_checkpoint as save
from core_model.cli import app
from core_model.config import FinetuneConfig, encoder_config
from core_model.export import to_mae
from core_model.mae_layout import LayoutError
from core_model.nn.adapters import AdaptedLinear, merge
from core_model.nn.iat import IATModel
from core_model.nn.initial import initial_weights
from core_model.nn.weights import schema_of, set_arrays
from core_model.protocol.messages import digest
from core_model.schema import Role

AUS = (1, 2, 4)
IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def checkpoint(size="micro"):
    encoder = encoder_config(size, 64).model_copy(update={"depth": 2})
    arrays, schema = initial_weights(encoder, AUS, 0)
    arrays["au_head.weight"] = np.random.default_rng(0).normal(
        size=arrays["au_head.weight"].shape
    ).astype(np.float32)  # fmt: skip
    return arrays, CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=encoder, action_units=AUS
    )


def trained(arrays):
    """Adapters that do something."""
    chance = np.random.default_rng(1)
    return {
        n: chance.normal(0, 0.1, a.shape).astype(np.float32) if ".lora." in n else a
        for n, a in arrays.items()
    }


def model_of(arrays, manifest):
    model = IATModel(manifest.encoder, AUS, 1, FinetuneConfig()).eval()
    set_arrays(model, arrays)
    return model


def logits(model):
    with torch.inference_mode():
        return model.au_head(model.encoder(IMAGES))


@pytest.mark.parametrize("size", ["micro", "tiny"])
def test_fresh_adapters_change_nothing_and_stand_where_the_model_has_them(size) -> None:
    before = checkpoint(size)
    after = with_adapters(*before, rank=3, alpha=6.0, seed=0)
    assert torch.equal(logits(model_of(*after)), logits(model_of(*before)))
    assert after[1].parent == before[1].digest
    own = schema_of(model_of(*after)).shared("finetuning")
    assert after[1].weights == own  # in the same order too


@pytest.mark.parametrize("size", ["micro", "tiny"])
def test_merged_weights_compute_the_same(size) -> None:
    arrays, manifest = with_adapters(*checkpoint(size), rank=3, alpha=6.0, seed=0)
    arrays = trained(arrays)
    manifest = manifest.model_copy(update={"digest": digest(arrays)})
    plain, told = merged(arrays, manifest)
    assert Role.ADAPTER not in {p.role for p in told.weights.parameters}
    assert told.weights == checkpoint(size)[1].weights
    with_them = logits(model_of(arrays, manifest))
    torch.testing.assert_close(logits(model_of(plain, told)), with_them, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(with_them, logits(model_of(*checkpoint(size))), atol=1e-2)
    melted = model_of(arrays, manifest)
    merge(melted)
    assert not any(isinstance(m, AdaptedLinear) for m in melted.modules())
    torch.testing.assert_close(logits(melted), with_them, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_refused() -> None:
    adapted = with_adapters(*checkpoint(), rank=2, alpha=8.0, seed=0)
    with pytest.raises(CheckpointError, match="adapters already"):
        with_adapters(*adapted, rank=2, alpha=8.0, seed=0)
    with pytest.raises(CheckpointError, match="no adapters"):
        merged(*checkpoint())
    with pytest.raises(LayoutError, match="omote-model merge"):
        to_mae(*with_adapters(*checkpoint("tiny"), rank=2, alpha=8.0, seed=0))


def test_a_released_graph_has_no_adapters(tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    from core_model.release.graph import ReleaseGraph, run_torch, to_onnx
    from core_model.release.runtime import Runtime

    arrays, manifest = with_adapters(*checkpoint(), rank=2, alpha=8.0, seed=0)
    model = model_of(trained(arrays), manifest)
    graph = ReleaseGraph(model, 1.0)
    content = to_onnx(graph, 64)
    assert any(isinstance(m, AdaptedLinear) for m in model.modules())  # the model stays as it was
    plain = to_onnx(ReleaseGraph(model_of(*checkpoint()), 1.0), 64)
    count = [sum(n.op_type == "MatMul" for n in onnx.load(io.BytesIO(c)).graph.node)
             for c in (content, plain)]  # fmt: skip
    assert count[0] == count[1]
    faces = (IMAGES.permute(0, 2, 3, 1) * 255).byte().numpy()
    found = Runtime(content).run(faces)[1]
    np.testing.assert_allclose(found, run_torch(graph, faces)[1], atol=1e-3)


def test_adapt_and_merge_at_the_command_line(tmp_path) -> None:
    start, out, back = (tmp_path / f"{n}.safetensors" for n in ("start", "adapted", "back"))
    save(start, *checkpoint())
    assert CliRunner().invoke(app, ["adapt", str(start), str(out), "--rank", "2"]).exit_code == 0
    assert load_checkpoint(out)[1].encoder.lora_rank == 2
    assert CliRunner().invoke(app, ["merge", str(out), str(back)]).exit_code == 0
    assert load_checkpoint(back)[1].digest == load_checkpoint(start)[1].digest
    refused = CliRunner().invoke(app, ["merge", str(start), str(back)])
    assert refused.exit_code == 1
    assert "no adapters" in refused.output
