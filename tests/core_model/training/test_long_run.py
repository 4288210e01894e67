"""The parts of a long run: loading ahead, steps by number, parts of a batch, weights of AUs."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch

from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.nn.iat import IATModel, au_losses
from core_model.nn.mae import MaskedAutoencoder
from core_model.training.finetune import Finetuning
from core_model.training.long_run import Length, run_steps
from core_model.training.manner import Manner, positive_weights
from core_model.training.prefetch import prefetched
from core_model.training.pretrain import Pretraining
from core_model.training.progress import (
    Progress,
    ProgressError,
    load_progress,
    read_progress,
    save_progress,
)
from core_model.training.validation import best_epoch, is_over
from tests.federation import ENCODER, FINETUNING, PRETRAINING, write_faces

CPU = torch.device("cpu")


@pytest.fixture
def recordings(tmp_path):
    return read_recordings(write_faces(tmp_path, "t", (1, 2)))


@pytest.fixture
def dataset(recordings):
    return FrameDataset(recordings, 32, (1, 2))


def detector(config):
    torch.manual_seed(0)
    return IATModel(ENCODER, (1, 2), 3, config)


def weights(stepper):
    return torch.cat([p.detach().flatten() for p in stepper.model.parameters()])


# --- loading ahead -------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_what_is_loaded_ahead_comes_in_order_and_is_bounded(threads) -> None:
    made, lock = [], threading.Lock()

    def make(key):
        with lock:
            made.append(key)
        time.sleep(0.001 * (key % 3))
        return key

    for taken, value in enumerate(prefetched(range(40), make, threads=threads, ahead=4), start=1):
        assert value == taken - 1
        assert len(made) <= taken + 5
    assert len(made) == 40


def test_a_fault_while_loading_comes_where_its_batch_would_and_threads_end() -> None:
    def make(key):
        if key == 3:
            raise ValueError("frame 3")
        return key

    before = threading.active_count()
    values = prefetched(itertools.count(), make, threads=2, ahead=3)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="frame 3"):
        next(values)
    assert threading.active_count() == before
    unfinished = prefetched(itertools.count(), lambda k: k, threads=2, ahead=3)
    next(unfinished)
    unfinished.close()
    assert threading.active_count() == before


def test_frames_read_when_asked_for_are_those_held_in_memory(recordings, dataset) -> None:
    lazy = FrameDataset(recordings, 32, (1, 2), in_memory=False)
    indices = torch.randperm(len(dataset))[:7]
    for one, other in zip(lazy.as_bytes(indices), dataset.as_bytes(indices), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(lazy[indices].images, dataset[indices].images)
    assert lazy.num_bytes == len(lazy) * 3 * 32 * 32
    (recordings[0].frames / "000002.png").write_bytes(b"gone")
    with pytest.raises(ValueError, match="not an image"):
        lazy[torch.arange(12)]
    assert dataset[torch.arange(12)].images.shape == (12, 3, 32, 32)


# --- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("examples", "size"), [(12, 4), (13, 4), (3, 8), (8, 8)])
def test_every_epoch_takes_every_example_once_wherever_it_began(examples, size) -> None:
    length = Length(examples, size, epochs=3, seed=1)
    whole = list(length.indices(0))
    assert len(whole) == length.num_steps
    for epoch in range(3):
        part = whole[epoch * length.steps_per_epoch : (epoch + 1) * length.steps_per_epoch]
        assert sorted(torch.cat(part).tolist()) == list(range(examples))
    for first in range(length.num_steps + 1):
        rest = list(length.indices(first))
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[first:], strict=True))
    assert not torch.equal(length.order(1), length.order(2)) or examples < 4


def steppers():
    def finetuning():
        torch.manual_seed(0)
        config = FINETUNING.model_copy(update={"drop_path": 0.5})
        deeper = ENCODER.model_copy(update={"depth": 2})  # the first block drops nothing
        return Finetuning(IATModel(deeper, (1, 2), 3, config), config, CPU)

    yield "finetuning", finetuning

    def pretraining():
        torch.manual_seed(0)
        return Pretraining(MaskedAutoencoder(ENCODER, PRETRAINING), PRETRAINING, CPU)

    yield "pretraining", pretraining


@pytest.mark.parametrize("make", dict(steppers()).values(), ids=dict(steppers()).keys())
def test_a_checkpoint_at_every_step_goes_on_to_the_same_bits(dataset, tmp_path, make) -> None:
    length = Length(len(dataset), 5, epochs=2, seed=3)
    whole = make()
    paths = {}
    for done in run_steps(whole, dataset, length):
        torch.rand(done.step)  # what a caller draws between steps changes nothing
        paths[done.step] = tmp_path / f"{done.step}.safetensors"
        progress = Progress(run="r", purpose="finetuning", subjects=("a",), step=done.step)
        save_progress(paths[done.step], progress, whole)
    for step, path in paths.items():
        again = make()
        load_progress(path, again)
        assert read_progress(path).step == step
        for _ in run_steps(again, dataset, length, done=step, threads=0):
            pass
        assert torch.equal(weights(again), weights(whole)), step


def test_a_checkpoint_of_another_model_is_refused(dataset, tmp_path) -> None:
    (_, finetuning), (_, pretraining) = steppers()
    path = tmp_path / "p.safetensors"
    progress = Progress(run="r", purpose="finetuning", subjects=(), step=1)
    save_progress(path, progress, finetuning())
    assert read_progress(tmp_path / "none") is None
    with pytest.raises(ProgressError, match="another model"):
        load_progress(path, pretraining())


# --- manners -------------------------------------------------------------------------------------

STILL = {"augment": False, "drop_path": 0.0, "reversal_scale": 0.0}


@pytest.mark.parametrize("parts", [2, 3, 12, 20])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(dataset, parts) -> None:
    config = FINETUNING.model_copy(update=STILL)
    batch = dataset[torch.arange(12)]
    found = []
    for manner in (Manner(), Manner(parts=parts)):
        stepper = Finetuning(detector(config), config, CPU, manner)
        losses = stepper.step(batch, 0.5, torch.Generator())
        gradients = [p.grad.flatten() for p in stepper.model.parameters() if p.grad is not None]
        found.append((torch.cat(gradients), *losses))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_pretraining_in_parts_sums_to_the_whole(dataset) -> None:
    found = []
    for parts in (1, 3):
        torch.manual_seed(0)
        model = MaskedAutoencoder(ENCODER, PRETRAINING)
        stepper = Pretraining(model, PRETRAINING, CPU, Manner(parts=parts, augmentation="none"))
        found.append(stepper.step(dataset[torch.arange(12)], 0.5, torch.Generator())[0])
    # Each part draws masks of its own, in the same order as the whole does.
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_bfloat16_gives_nearly_the_loss_of_float32(dataset) -> None:
    config = FINETUNING.model_copy(update=STILL)
    batch = dataset[torch.arange(12)]
    losses = []
    for precision in ("float32", "bfloat16"):
        stepper = Finetuning(detector(config), config, CPU, Manner(precision=precision))
        losses.append(float(stepper.step(batch, 0.5, torch.Generator())[0]))
        assert all(p.dtype == torch.float32 for p in stepper.model.parameters())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_precision_is_what_the_device_computes_in(monkeypatch) -> None:
    for has, want in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("core_model.training.manner.has_bfloat16", lambda _, has=has: has)
        assert Manner(precision="auto").on(CPU).precision == want
    with pytest.raises(ValueError, match="no bfloat16"):
        Manner(precision="bfloat16").on(CPU)


def test_positive_weights_balance_what_is_known() -> None:
    aus = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 1]])
    known = torch.tensor([[1.0, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1]])
    got = positive_weights(aus, known)
    np.testing.assert_allclose(got.numpy(), [3.0, 3.0, 1.0, 0.1])
    logits = torch.zeros(4, 4)
    plain, weighted = au_losses(logits, aus, known), au_losses(logits, aus, known, got)
    assert weighted[0] > plain[0]
    assert weighted[1] < plain[1]


CASES = {
    "nothing yet": ((), 2, False),
    "the last is best": ((0.1, 0.2), 1, False),
    "one without gain": ((0.2, 0.1), 1, True),
    "equals are gains": ((0.2, 0.2, 0.2), 1, False),
    "patient": ((0.3, 0.1, 0.2), 3, False),
}


@pytest.mark.parametrize(("scores", "patience", "want"), CASES.values(), ids=CASES.keys())
def test_when_to_stop(scores, patience, want) -> None:
    assert is_over(scores, patience) is want


def test_the_best_epoch_counts_from_one() -> None:
    assert best_epoch((0.1, 0.4, 0.2)) == 2
