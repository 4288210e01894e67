"""omote-model public-head: from public faces to a head that a plan names and a site takes."""

import dataclasses
import re
import tomllib
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from core_model.checkpoint import CheckpointManifest, save_checkpoint
from core_model.cli import app
from core_model.frozen_head import BIAS, WEIGHT, read_frozen_head
from core_model.nn.initial import initial_weights
from core_model.privacy.chance import SimulationChance
from core_model.protocol.messages import RefusalCode, digest
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.loop import write_initial
from tests.core_model.faces import write_site as write_public
from tests.federation import AUS, ENCODER, FINETUNING, write_sites
from tests.fl_client.test_private_round import PLAN, private_federation

PEOPLE = 5
run = CliRunner()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The checkpoint of a run, public people, and what the command makes of them."""
    root = tmp_path_factory.mktemp("public")
    checkpoint, out = root / "initial.safetensors", root / "head.safetensors"
    write_initial(checkpoint, ENCODER, AUS, seed=7)  # as private_federation writes it
    listing = write_public(root / "public", PEOPLE)
    shown = run.invoke(app, ["public-head", str(checkpoint), str(listing), str(out)])
    assert shown.exit_code == 0, shown.output
    return root, checkpoint, listing, out, shown.output


def settings_in(output):
    """Return what the command says belongs into the plan."""
    return tomllib.loads("\n".join(re.findall(r"^  (\w+ = .*)$", output, re.MULTILINE)))


def test_the_digest_that_it_prints_is_that_of_the_file(made) -> None:
    *_, out, output = made
    head = read_frozen_head(out, settings_in(output)["frozen_head"])
    assert settings_in(output) == {"identity_head": "frozen", "frozen_head": digest(head)}
    assert (head[WEIGHT].shape, head[BIAS].shape) == ((PEOPLE, ENCODER.embed_dim), (PEOPLE,))
    named = int(re.search(rf"names (\d+)% of the faces of {PEOPLE} people", output)[1])
    assert named > 200 / PEOPLE  # of faces whose colour tells the person: twice chance and more
    assert not list(out.parent.glob("*.draft"))


def test_equal_seeds_give_equal_heads_and_others_do_not(made) -> None:
    root, checkpoint, listing, _, output = made
    for seed, is_equal in ((0, True), (1, False)):
        words = ["public-head", checkpoint, listing, root / "again.safetensors", "--seed", seed]
        again = settings_in(run.invoke(app, list(map(str, words))).output)
        assert (again == settings_in(output)) is is_equal


def test_a_site_with_the_file_takes_the_plan_and_one_without_refuses(made, tmp_path) -> None:
    *_, out, output = made
    folders = write_sites(tmp_path)
    privacy = PLAN.model_copy(update=settings_in(output))
    stages = (Stage(rounds=1, training=FINETUNING, privacy=privacy),)
    coordinator = Coordinator(private_federation(tmp_path, folders, stages=stages))
    text = folders["site-a"].config.read_text()
    folders["site-a"].config.write_text(f'frozen_heads = ["{out}"]\n{text}')
    update = run_round(coordinator.request("site-a"), seeded(folders["site-a"]))
    assert not any(name.startswith("identity_head.") for name in update.arrays)
    coordinator.answer("site-a", update)
    with pytest.raises(RoundRefusedError, match=r"site\.toml \(frozen_heads\)") as refused:
        run_round(coordinator.request("site-b"), seeded(folders["site-b"]))
    assert refused.value.code is RefusalCode.PLAN_NOT_ALLOWED
    summary = coordinator.finish()
    assert (summary.admitted, summary.refused) == (("site-a",), {})


def seeded(folder):
    return dataclasses.replace(
        open_site(folder.config), chance=lambda plan: SimulationChance(plan.round)
    )


def encoder_alone(root, checkpoint, listing, out):
    path = root / "encoder.safetensors"
    arrays, schema = initial_weights(ENCODER, (), 0)
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=ENCODER, action_units=()
    )
    save_checkpoint(path, arrays, manifest)
    return path, listing, out


REFUSED = {
    "no checkpoint": (lambda r, c, p, o: (r / "none.safetensors", p, o), "none.safetensors"),
    "something else": (lambda r, c, p, o: (p, p, o), "recordings.csv"),
    "an encoder without an AU head": (encoder_alone, "fine-tune it first"),
    "no list": (lambda r, c, p, o: (c, r / "none.csv", o), "none.csv"),
    "one person": (lambda r, c, p, o: (c, write_public(r / "one", 1), o), "two or more, got 1"),
    "no such folder": (lambda r, c, p, o: (c, p, r / "nowhere" / "head"), "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize(("bend", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_it_cannot_use_is_named_and_nothing_is_written(made, tmp_path, bend, said) -> None:
    _, checkpoint, listing, *_ = made
    out = tmp_path / "head.safetensors"
    words = list(map(str, bend(tmp_path, checkpoint, listing, out)))
    shown = run.invoke(app, ["public-head", *words])
    assert shown.exit_code == 1, shown.output
    assert isinstance(shown.exception, SystemExit), shown.exception
    assert said in shown.output
    assert "Traceback" not in shown.output
    assert not out.exists()


def test_help_says_whose_faces_and_what_to_do_with_the_file() -> None:
    shown = run.invoke(app, ["public-head", "--help"], env={"COLUMNS": "100"}).output
    for word in ("PUBLIC", "identity_head", "frozen_heads", "docs/privacy.md"):
        assert word in shown


CLICK = tuple(map(int, version("click").split(".")[:2]))


@pytest.mark.skipif(CLICK >= (8, 5), reason="make install: typer 0.20 hides such help with it")
def test_help_says_what_each_argument_is() -> None:
    shown = run.invoke(app, ["public-head", "--help"], env={"COLUMNS": "100"}).output
    for word in ("Where private rounds will start", "at no site", "each site is given it"):
        assert word in shown
