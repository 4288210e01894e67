"""Training at the site alone: stops anywhere, goes on to the same bits, asks as a round does."""

import json
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from consent.attestation import open_attestation
from consent.kept import read_kept
from consent.model import Purpose
from core_model.checkpoint import load_checkpoint
from core_model.cli import app as model_app
from core_model.evaluation import partitions
from core_model.protocol.messages import RefusalCode
from core_model.run_folder import epoch_files, read_run
from core_model.training.progress import read_progress
from fl_client import long_training
from fl_client.cli import app
from fl_client.errors import LocalStateError, RoundRefusedError, SiteError
from fl_client.forgetting import forget_withdrawn
from fl_client.recovery import only_worker
from fl_client.selection import recording_digest
from fl_client.site import open_site
from fl_client.stopping import stoppable
from tests.fl_client.pilot import FINETUNING, Silent, train, write_pilot

run = CliRunner()
PURPOSES = ("finetuning", "pretraining")
STEPS = 9  # 24 frames in batches of 8, three epochs
ALL = {"held_out": 0.0}


def digest_of(result) -> str:
    return load_checkpoint(result.chosen)[1].digest


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    """A site that no test changes, and what an undisturbed run of each purpose gives there."""
    root = tmp_path_factory.mktemp("pilot")
    folder = write_pilot(root / "site")
    want = {p: digest_of(train(folder, root / f"whole-{p}", p, **ALL)) for p in PURPOSES}
    return root, folder, want


@pytest.mark.parametrize("purpose", PURPOSES)
@settings(max_examples=4, deadline=None)
@given(stops=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=2), held=st.booleans())
def test_ctrl_c_at_any_step_changes_no_bit(pilot, purpose, stops, held) -> None:
    root, folder, want = pilot
    out = root / f"{purpose}-{'-'.join(map(str, sorted(stops)))}-{held}"
    if out.exists():
        return
    loop = {"memory_bytes": 1 << 30 if held else 0, "threads": 2 if held else 0}
    before = 0
    for stop in sorted(stops):
        bar = Silent(stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder, out, purpose, bar, loop=loop, **ALL)
        assert (bar.began_at, bar.step, out.exists()) == (before, stop, False)
        before = stop
    bar = Silent()
    assert digest_of(train(folder, out, purpose, bar, loop=loop, **ALL)) == want[purpose]
    assert (bar.began_at, bar.step) == (before, STEPS)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_fault_in_any_step_goes_back_to_the_last_checkpoint(pilot, purpose) -> None:
    """As after a power loss: nothing was saved at the step that failed."""
    root, folder, want = pilot

    class Failing(Silent):
        def advance(self, done, epochs):
            super().advance(done, epochs)
            if done.step == 5:
                raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        train(folder, root / f"cut-{purpose}", purpose, Failing(), **ALL)
    bar = Silent()
    assert digest_of(train(folder, root / f"cut-{purpose}", purpose, bar, **ALL)) == want[purpose]
    assert bar.began_at == 3  # the end of the first epoch


def test_a_signal_stops_at_the_end_of_the_step(pilot) -> None:
    root, folder, want = pilot

    class Struck(Silent):
        def advance(self, done, epochs):
            self.step = done.step
            if done.step == 2:
                signal.raise_signal(signal.SIGINT)

    bar = Struck()
    with stoppable() as bar.stop, pytest.raises(KeyboardInterrupt):
        train(folder, root / "struck", bar=bar, **ALL)
    assert bar.step == 2
    assert digest_of(train(folder, root / "struck", **ALL)) == want["finetuning"]


def test_stopping_twice_stops_at_once() -> None:
    with stoppable() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(pilot) -> None:
    """SIGKILL while it writes a checkpoint after every step."""
    root, folder, _ = pilot
    recipe = FINETUNING.model_copy(update={"epochs": 20})
    want = digest_of(train(folder, root / "undisturbed", recipe=recipe, **ALL))
    out = root / "killed"
    code = (
        "import sys; from pathlib import Path\n"
        "from fl_client.site import open_site\n"
        "from tests.fl_client.pilot import FINETUNING, train\n"
        "recipe = FINETUNING.model_copy(update={'epochs': 20})\n"
        "train(open_site(Path(sys.argv[1])), Path(sys.argv[2]), recipe=recipe, held_out=0.0,"
        " loop={'save_every_s': 0.0})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, folder.config, out])
    try:
        state = folder.folder / "state"
        deadline = time.monotonic() + 60
        while not list(state.glob("*/progress.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
    finally:
        process.kill()
        process.wait()
    (file,) = state.glob("*/progress.safetensors")
    assert 0 < read_progress(file).step < 60
    assert file.stat().st_mode & 0o777 == 0o600
    bar = Silent()
    assert digest_of(train(folder, out, bar=bar, recipe=recipe, **ALL)) == want
    assert bar.began_at > 0
    assert not list(state.glob("*/*.safetensors*"))


# --- the same questions as in a round ------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return write_pilot(tmp_path / "site")


def refusal(folder, out, *arguments, **wishes):
    with pytest.raises(RoundRefusedError) as caught:
        train(folder, out, *arguments, **wishes)
    assert not out.exists()
    return caught.value.code


def test_a_person_without_consent_is_left_out(folder, tmp_path) -> None:
    folder.withdraw("clinic-p0", [Purpose.FINETUNING])
    result = train(folder, tmp_path / "out", **ALL)
    assert result.record.num_subjects == 5
    (kept,) = read_kept(folder.folder / "state" / result.run_id / "manifests.jsonl")
    gone = next(r for r in open_site(folder.config).recordings if r.subject_id == "clinic-p0")
    assert recording_digest(gone.frames) not in {leaf.asset for leaf in kept.opened()}


def test_nobody_agrees(folder, tmp_path) -> None:
    for person in range(6):
        folder.withdraw(f"clinic-p{person}", [Purpose.FINETUNING])
    assert refusal(folder, tmp_path / "out") is RefusalCode.NO_CONSENTED_DATA


@pytest.mark.parametrize("held_out", [0.0, 0.35], ids=["trained on", "held out"])
def test_consent_withdrawn_during_training_voids_it(folder, tmp_path, held_out) -> None:
    class Leaving(Silent):
        def advance(self, done, epochs):
            if done.step == 4:
                folder.withdraw("clinic-p2", [Purpose.FINETUNING])

    code = refusal(folder, tmp_path / "out", bar=Leaving(), held_out=held_out, seed=2)
    assert code is RefusalCode.CONSENT_CHANGED
    state = folder.folder / "state"
    assert not [p for p in state.rglob("*") if "safetensors" in p.name]
    signed = folder.consent.state()
    assert not signed.rounds
    assert not signed.models
    assert train(folder, tmp_path / "out", held_out=held_out, seed=2).record.num_frames > 0


def test_no_checkpoint_is_written_of_somebody_who_just_left(folder, tmp_path) -> None:
    class LeavingThenStopped(Silent):
        def advance(self, done, epochs):
            super().advance(done, epochs)
            if done.step == 2:
                folder.withdraw("clinic-p2", [Purpose.FINETUNING])

    bar = LeavingThenStopped(2)
    assert refusal(folder, tmp_path / "out", bar=bar, **ALL) is RefusalCode.CONSENT_CHANGED
    assert not [p for p in (folder.folder / "state").rglob("*") if "safetensors" in p.name]


def test_withdrawn_in_the_last_step(folder, tmp_path, monkeypatch) -> None:
    """The recheck after training is the round's own."""
    real = long_training.load_checkpoint

    def late(path):
        folder.withdraw("clinic-p5", [Purpose.FINETUNING])
        return real(path)

    monkeypatch.setattr(long_training, "load_checkpoint", late)
    assert refusal(folder, tmp_path / "out") is RefusalCode.CONSENT_CHANGED


def test_withdrawn_while_it_was_interrupted(folder, tmp_path) -> None:
    for step in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            train(folder, tmp_path / "out", bar=Silent(step), **ALL)
    folder.withdraw("clinic-p1", [Purpose.FINETUNING])
    assert refusal(folder, tmp_path / "out", **ALL) is RefusalCode.CONSENT_CHANGED
    bar = Silent()
    assert train(folder, tmp_path / "out", bar=bar, **ALL).record.num_subjects == 5
    assert bar.began_at == 0


def test_a_purge_deletes_what_was_learned_of_somebody_who_left(folder, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "out", bar=Silent(4), **ALL)
    state = folder.folder / "state"
    assert forget_withdrawn(open_site(folder.config)) == 0
    assert list(state.rglob("*.safetensors"))
    folder.withdraw("clinic-p1", [Purpose.FINETUNING])
    assert forget_withdrawn(open_site(folder.config)) == 1
    assert not list(state.rglob("*.safetensors"))


def with_text(folder, old, new):
    text = folder.config.read_text()
    assert old in text
    folder.config.write_text(text.replace(old, new))


NOT_ALLOWED = {
    "training without privacy": ("allows_training_without_privacy = true", "", "PLAN_NOT_ALLOWED"),
    "so many epochs": ("[caps]", "[caps]\nmax_epochs_per_round = 2", "PLAN_NOT_ALLOWED"),
    "so large a model": ("[caps]", "[caps]\nmax_weights = 1000", "PLAN_NOT_ALLOWED"),
    "another purpose": ("[caps]", '[caps]\npurposes = ["pretraining"]', "PLAN_NOT_ALLOWED"),
    "no declared use": ('use = "use.toml"', "", "POLICY_DENIED"),
    "too few left to train on": ("[caps]", "[caps]\nmin_subjects = 5", "TOO_FEW_SUBJECTS"),
}


@pytest.mark.parametrize(("old", "new", "code"), NOT_ALLOWED.values(), ids=NOT_ALLOWED.keys())
def test_what_the_site_does_not_allow(folder, tmp_path, old, new, code) -> None:
    with_text(folder, old, new)
    assert refusal(folder, tmp_path / "out").name == code


def test_it_is_attested_and_on_record_and_everyone_charged(folder, tmp_path) -> None:
    result = train(folder, tmp_path / "out")
    state = folder.consent.state()
    (signed,) = state.rounds
    opened = open_attestation(
        signed.event.attestation.encode(), open_site(folder.config).key.verifier
    )
    assert opened.digest == result.attestation
    assert opened.attestation.update == digest_of(result)
    (kept,) = read_kept(folder.folder / "state" / result.run_id / "manifests.jsonl")
    assert len(kept.opened()) == 6  # those held out too: they chose the epoch
    (model,) = state.models.values()
    assert (model.event.model, model.event.run_id) == (digest_of(result), result.run_id)
    assert "no bound     6" in run.invoke(app, ["budget", str(folder.config)]).output


def test_no_worker_runs_beside_it(folder, tmp_path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    arguments = ["finetune", "--site", str(folder.config), "--recipe", str(recipe)]
    with only_worker(open_site(folder.config).config.state):
        got = run.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert (got.exit_code, "runs already" in got.output) == (1, True)


# --- people held out, and people to test on ------------------------------------------------------


def test_test_people_are_not_even_read(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(partitions.PARTITIONS, "mine", {"P1": frozenset({"clinic-p0"})})
    site = open_site(folder.config)
    mine = next(r for r in site.recordings if r.subject_id == "clinic-p0")
    (mine.frames / "000001.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="not an image"):
        train(site, tmp_path / "all", **ALL)
    record = train(site, tmp_path / "out", test="mine/P1", **ALL).record
    assert (record.num_subjects, record.test_partition) == (5, "mine/P1")


def test_people_held_out_stop_it_and_choose_the_epoch(folder, tmp_path, monkeypatch) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(long_training, "score", lambda *_: next(scores))
    recipe = FINETUNING.model_copy(update={"epochs": 5})
    said: list[str] = []
    result = train(folder, tmp_path / "out", recipe=recipe, patience=2, say=said.append)
    assert (result.best_epoch, result.scores) == (2, (0.1, 0.5, 0.4, 0.3))
    assert len(epoch_files(tmp_path / "out")) == 2
    assert read_run(tmp_path / "out").local["num_held_out"] == 2
    assert said[-1].startswith("epoch 4 of 5")
    assert said[-1].endswith("best epoch 2")


def test_early_stopping_survives_an_interruption(folder, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "cut", bar=Silent(3))
    cut, whole = train(folder, tmp_path / "cut"), train(folder, tmp_path / "whole")
    assert (cut.scores, digest_of(cut)) == (whole.scores, digest_of(whole))


def test_nobody_held_out_is_said(folder, tmp_path) -> None:
    said: list[str] = []
    assert train(folder, tmp_path / "out", say=said.append, **ALL).scores == ()
    assert "nobody is held out" in said[0]


# --- folders, data and devices that do not fit ----------------------------------------------------


def test_changed_labels_are_not_trained_on_half_way(folder, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "out", bar=Silent(4), **ALL)
    labels = open_site(folder.config).recordings[0].labels
    rows = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join(rows[:-1]))
    with pytest.raises(LocalStateError, match="--fresh"):
        train(folder, tmp_path / "out", **ALL)
    bar = Silent()
    assert train(folder, tmp_path / "out", bar=bar, fresh=True, **ALL).record.num_frames == 23
    assert bar.began_at == 0


def test_a_damaged_checkpoint_says_so(folder, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "out", bar=Silent(4), **ALL)
    (file,) = (folder.folder / "state").glob("*/progress.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LocalStateError, match="damaged"):
        train(folder, tmp_path / "out", **ALL)


def test_a_folder_with_another_run_is_left_alone(folder, tmp_path) -> None:
    train(folder, tmp_path / "out", **ALL)
    for wishes in ({**ALL}, {**ALL, "seed": 5}):
        with pytest.raises(SiteError, match="epochs of another run"):
            train(folder, tmp_path / "out", **wishes)


RECIPE = """\
name = "small"
title = "Small"
size = "micro"
image_size = 32
aus = "1,2"
epochs = 2
starts_from = "fresh weights"
training = { purpose = "finetuning", optimiser = { learning_rate = 1e-3, batch_size = 8 } }
"""


def test_the_command_end_to_end_and_a_wrong_device(folder, tmp_path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    first = ["pretrain", "--recipe", str(write_pretraining(tmp_path)), "--held-out", "0"]
    site = ["--site", str(folder.config)]
    got = run.invoke(app, [*first, *site, "--out", str(tmp_path / "pre")])
    assert (got.exit_code, "24 frames of 6 people" in got.output) == (0, True), got.output
    initial = tmp_path / "pre" / "epoch-002.safetensors"
    second = ["finetune", "--recipe", str(recipe), "--initial", str(initial), "--seed", "2"]
    choices = ["--augment", "paper", "--balance", "pos_weight", "--parts", "2"]
    got = run.invoke(app, [*second, *site, "--out", str(out), *choices, "--held-out", "0.35"])
    assert (got.exit_code, "was best for people held out" in got.output) == (0, True), got.output
    record = read_run(out)
    assert (record.local["augmentation"], record.local["balance"]) == ("paper", "pos_weight")
    assert load_checkpoint(epoch_files(out)[0])[1].parent == load_checkpoint(initial)[1].digest
    wrong = run.invoke(app, ["finetune", "--recipe", str(initial), *site, "--out", str(out)])
    assert wrong.exit_code == 1
    with_text(folder, "threads = 1", 'threads = 1\ndevice = "cuda:99"')
    got = run.invoke(app, [*second, *site, "--out", str(tmp_path / "other")])
    assert (got.exit_code, "cuda:99" in got.output) == (1, True)
    assert (
        "recipe for finetuning"
        in run.invoke(
            app, ["pretrain", "--recipe", str(recipe), *site, "--out", str(tmp_path / "x")]
        ).output
    )


def write_pretraining(folder):
    path = folder / "pretraining.toml"
    text = RECIPE.replace('aus = "1,2"\n', "").replace('"finetuning"', '"pretraining"')
    more = "decoder_dim = 16, decoder_depth = 1, decoder_heads = 2, optimiser"
    path.write_text(text.replace("optimiser", more))
    return path


def test_a_full_disk_keeps_the_last_checkpoint(folder, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "out", bar=Silent(2), **ALL)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("core_model.training.progress.save_file", full)
        with pytest.raises(OSError, match="No space"):
            train(folder, tmp_path / "out", bar=Silent(2), **ALL)
    (file,) = (folder.folder / "state").glob("*/progress.safetensors")
    assert read_progress(file).step == 2
    assert not list(file.parent.glob("*.draft"))
    bar = Silent()
    train(folder, tmp_path / "out", bar=bar, **ALL)
    assert bar.began_at == 2


def test_the_run_can_be_evaluated_and_released(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(partitions.PARTITIONS, "mine", {"P1": frozenset({"clinic-p0"})})
    out = tmp_path / "out"
    train(folder, out, test="mine/P1")
    listing = str(folder.folder / "data" / "recordings.csv")
    asked = ["--recordings", listing, "--validation", listing]
    got = run.invoke(model_app, ["evaluate", "--checkpoint", str(out), *asked, "--out", str(out)])
    assert got.exit_code == 0, got.output
    found = json.loads((out / "evaluation.json").read_text())
    assert found["data"]["num_people"] == 1
    assert found["data"]["num_validation_people"] == 2
    card = tmp_path / "card.md"
    card.write_text("# Card\n\nA detector trained on noise, for a test and for nothing else.\n")
    release = [
        "--format",
        "onnx",
        "--unsigned",
        "--purpose",
        "A test of releases.",
        "--card",
        str(card),
    ]
    chosen = str(epoch_files(out)[-1])
    got = run.invoke(model_app, ["export", chosen, str(tmp_path / "model.onnx"), *release])
    assert got.exit_code == 0, got.output
    assert (tmp_path / "model.onnx").stat().st_size > 100_000
