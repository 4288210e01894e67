import json
import tomllib

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from core_model.checkpoint import load_checkpoint
from core_model.cli import app
from core_model.config import FinetuneConfig
from core_model.data.labels import UNKNOWN, Labels
from core_model.evaluation.partitions import is_held_out
from core_model.nn.identity_head import make_identity_head
from core_model.recipe import Recipe, load_recipe, shipped_recipes
from core_model.run_folder import epoch_files, read_run
from core_model.training.recipe_run import build_model, split_recordings
from tests.core_model.faces import write_site

PUBLISHED = ["bp4d", "bp4d_plus", "disfa", "fmae_pretrain", "mae_pretrain"]

FINE = {  # lambda, base rate, batch, epochs, warm-up epochs; the repository's README
    "bp4d": (2.0, 5e-4, 64, 30, 3),
    "bp4d_plus": (1.0, 5e-4, 64, 30, 3),
    "disfa": (0.5, 5e-4, 64, 20, 2),
}


def test_shipped_recipes_load() -> None:
    assert set(shipped_recipes()) == {*PUBLISHED, "generated", "micro_pretrain", "zoo_micro"}
    assert all(load_recipe(name).name == name for name in shipped_recipes())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_has_a_source(name) -> None:
    """A field that is set must say where it comes from, and no source is of a field not set."""
    table = tomllib.loads(shipped_recipes()[name].read_text())
    training = table.pop("training")
    fields = {f"training.{f}" for f in training if f not in ("purpose", "optimiser")}
    fields |= {f"training.optimiser.{f}" for f in training["optimiser"]}
    named = {"size", "epochs", "label_policy", "threshold_policy", "identity_head_layers"}
    fields |= (table.keys() & named) | ({"published_f1"} & table.keys())
    assert table["sources"].keys() == fields
    known = load_recipe(name).training.optimiser.model_dump().keys() - {"epochs_per_round"}
    assert training["optimiser"].keys() == known  # nothing is left to our defaults


@pytest.mark.parametrize(("name", "numbers"), FINE.items())
def test_fine_tuning_numbers(name, numbers) -> None:
    scale, base, batch, epochs, warmup = numbers
    recipe = load_recipe(name)
    assert isinstance(recipe.training, FinetuneConfig)
    assert (recipe.training.reversal_scale, recipe.epochs) == (scale, epochs)
    assert recipe.training.optimiser.learning_rate == pytest.approx(base * batch / 256)
    assert recipe.training.optimiser.warmup == pytest.approx(warmup / epochs)
    assert set(recipe.published_f1) == set(recipe.action_units)
    mean = float(np.mean(list(recipe.published_f1.values())))
    assert recipe.published_macro_f1 == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "base", "batch", "epochs", "warmup"),
    [("fmae_pretrain", 1.5e-4, 512, 50, 2), ("mae_pretrain", 1.5e-4, 4096, 800, 40)],
)
def test_pretraining_numbers(name, base, batch, epochs, warmup) -> None:
    recipe = load_recipe(name)
    assert recipe.training.optimiser.learning_rate == pytest.approx(base * batch / 256)
    assert recipe.training.optimiser.warmup * recipe.epochs == pytest.approx(warmup)
    assert recipe.epochs == epochs


def test_label_policy_negative_is_the_papers_999() -> None:
    """The authors write AU numbers for what is there and 999 for all else, unknown or absent."""
    intensities = np.array([[5, 9, 0], [9, 2, 9]], np.int8)
    labels = Labels((1, 2, 4), np.array([1, 2]), intensities)
    papers = [[1, 999, 999], [999, 2, 999]]  # one line of their JSONL a frame
    occurs, known = labels.occurrence((1, 2, 4), policy="negative")
    assert np.array_equal(occurs, np.array([[v != 999 for v in row] for row in papers]))
    assert known.all()
    _, masked = labels.occurrence((1, 2, 4), policy="mask")
    assert np.array_equal(masked, intensities != UNKNOWN)
    assert not labels.occurrence((1, 25), policy="negative")[1][:, 1].any()  # never coded


@pytest.mark.parametrize(("layers", "shapes"), [
    (1, [(5, 16)]), (2, [(8, 16), (5, 8)]), (3, [(8, 16), (4, 8), (5, 4)]),
])  # fmt: skip
def test_identity_head_depth(layers, shapes) -> None:
    head = make_identity_head(16, 5, layers)
    assert [tuple(w.shape) for n, w in head.named_parameters() if n.endswith("weight")] == shapes
    assert head(torch.zeros(2, 16)).shape == (2, 5)


def test_reversal_reaches_the_encoder_through_a_deep_head() -> None:
    recipe = load_recipe("generated").model_copy(update={"identity_head_layers": 3})
    model = build_model(recipe, recipe.encoder, 4, 0)
    features = torch.randn(3, 128, requires_grad=True)
    model.reversal.scale = 2.0
    model.heads(features)[1].sum().backward()
    reversed_gradient = features.grad.clone()
    features.grad = None
    model.identity_head(features).sum().backward()
    torch.testing.assert_close(reversed_gradient, -2 * features.grad)


def test_unknown_fields_and_wrong_pairs_are_refused() -> None:
    table = load_recipe("generated").model_dump()
    with pytest.raises(ValueError, match="aus"):
        Recipe.model_validate(table | {"aus": ""})
    with pytest.raises(FileNotFoundError, match="shipped are: bp4d"):
        load_recipe("bp5d")


def test_train_keeps_every_epoch_and_no_identity_head(tmp_path) -> None:
    listing = write_site(tmp_path / "site", num_people=6)
    text = shipped_recipes()["generated"].read_text().replace("epochs = 12", "epochs = 2")
    recipe = tmp_path / "two.toml"
    recipe.write_text(text.replace("identity_head_layers = 1", "identity_head_layers = 2"))
    command = ["train", "--recipe", str(recipe), "--recordings", str(listing)]
    command += ["--out", str(tmp_path / "run"), "--held-out", "0.4", "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    files = epoch_files(tmp_path / "run")
    assert [f.name for f in files] == ["epoch-001.safetensors", "epoch-002.safetensors"]
    arrays, manifest = load_checkpoint(files[-1])
    assert not any("identity" in name for name in arrays)
    record = read_run(tmp_path / "run")
    assert record.num_subjects == sum(not is_held_out(f"subj-{i}", 0.4) for i in range(6))
    assert "subj-" not in json.dumps(record.model_dump())
    assert manifest.round == 2
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "another run" in again.output) == (1, True)


def test_nobody_is_in_two_groups(tmp_path) -> None:
    from core_model.data.recordings import Recording

    people = [f"SN{i:03d}" for i in range(1, 33)]
    recordings = [
        Recording(recording_id=p, subject_id=p, frames=tmp_path, labels=None, licence="x")
        for p in people
    ]
    groups = split_recordings(recordings, "disfa/P2", 0.3, seed=0)
    ids = {name: {r.subject_id for r in group} for name, group in groups.items()}
    assert len(ids["test"]) == 9
    assert sum(map(len, ids.values())) == len(people)
    assert 3 < len(ids["validation"]) < 12
