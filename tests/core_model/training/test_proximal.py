"""FedProx against its loss written out, in the plain loops and in the private ones."""

import copy

import pytest
import torch

from core_model.data.augment import standardise
from core_model.data.frames import FrameDataset, as_floats
from core_model.data.recordings import read_recordings
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.training.finetune import finetune
from core_model.training.manner import PLAIN, mirrored
from core_model.training.pretrain import pretrain
from core_model.training.private import finetune_privately
from core_model.training.proximal import Proximal
from core_model.training.schedule import learning_rate, make_optimiser, set_learning_rate
from tests.core_model.training.test_private import (
    AUS,
    CPU,
    Replay,
    config,
    detector,
    plain_descent,
    plan,
)
from tests.federation import ENCODER, FINETUNING, PRETRAINING, write_faces

MU = 0.3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    listing = write_faces(tmp_path_factory.mktemp("faces"), "t", AUS, people=5)
    return FrameDataset(read_recordings(listing), 32, AUS)


def shared_names(model):
    return [n for n, _ in model.named_parameters() if n.startswith(("encoder.", "au_head."))]


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_pretraining_descends_the_loss_plus_half_mu_times_the_squared_distance(dataset):
    torch.manual_seed(0)
    model = MaskedAutoencoder(ENCODER, PRETRAINING)
    written_out = copy.deepcopy(model)
    settings = PRETRAINING.model_copy(
        update={"optimiser": PRETRAINING.optimiser.model_copy(update={"epochs_per_round": 3})}
    )
    held = Proximal(model, shared_names(model), MU)
    pretrain(model, dataset, settings, device=CPU, seed=5, proximal=held)

    start = {n: w for n, w in weights(written_out).items() if n in shared_names(written_out)}
    optimiser = make_optimiser(written_out.named_parameters(), settings.optimiser, ENCODER.depth)
    chance, size = torch.Generator().manual_seed(5), settings.optimiser.batch_size
    total, step = 3 * -(-len(dataset) // size), 0
    for _ in range(3):
        for batch in dataset.shuffled(size, chance):
            images = standardise(mirrored(as_floats(batch.images), chance, PLAIN))
            order = random_order(len(images), ENCODER.num_patches, chance)
            now = dict(written_out.named_parameters())
            distance = sum(((now[n] - w) ** 2).sum() for n, w in start.items())
            loss = written_out.loss_of(written_out(images, order), images, order)
            optimiser.zero_grad()
            (loss + MU / 2 * distance).backward()
            set_learning_rate(optimiser, learning_rate(settings.optimiser, (step + 0.5) / total))
            optimiser.step()
            step += 1
    for name, weight in weights(model).items():
        if not name.endswith("qkv.bias"):  # keys' biases have no gradient but rounding, which Adam
            assert torch.allclose(weight, weights(written_out)[name], atol=1e-5), name  # blows up


def test_a_stronger_pull_ends_nearer_to_the_start_and_leaves_the_identity_head_free(dataset):
    settings = FINETUNING.model_copy(
        update={"optimiser": FINETUNING.optimiser.model_copy(update={"epochs_per_round": 4})}
    )
    moved, heads = [], []
    for strength in (0.0, 1.0, 1000.0):
        torch.manual_seed(0)
        model = IATModel(ENCODER, AUS, len(dataset.subjects), settings)
        before, names = weights(model), shared_names(model)
        held = Proximal(model, names, strength) if strength else None
        finetune(model, dataset, settings, device=CPU, seed=5, proximal=held)
        after = weights(model)
        moved.append(sum(float((after[n] - before[n]).square().sum()) for n in names))
        head = "identity_head.weight"
        heads.append(float((after[head] - before[head]).norm()))
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 0.2 * moved[0]
    assert min(heads) > 0.5 * max(heads)


def test_in_a_private_round_the_pull_joins_after_the_noise(dataset):
    """With plain gradient steps the second one differs by mu x the first, and no more."""
    ends = {}
    optimiser = FINETUNING.optimiser.model_copy(
        update={"learning_rate": 1.0, "min_learning_rate": 1.0, "warmup": 0.0}
    )
    settings = config("none", optimiser=optimiser)
    for strength in (0.0, MU):
        model = detector(settings)
        before = weights(model)
        charged = []
        held = Proximal(model, shared_names(model), strength) if strength else None
        finetune_privately(
            model, dataset, settings, plan(noise_multiplier=0.01),
            device=CPU, chance=Replay(), charge=charged.append, optimiser_of=plain_descent,
            proximal=held,
        )  # fmt: skip
        ends[strength] = weights(model)
        assert charged == [1, 1]
    one_step = detector(settings)
    finetune_privately(
        one_step, dataset, settings,
        plan(noise_multiplier=0.01, steps_per_round=1), device=CPU,
        chance=Replay(), charge=lambda _: None, span=(0.0, 0.5), optimiser_of=plain_descent,
    )  # fmt: skip
    far = max(float((weights(one_step)[n] - w).abs().max()) for n, w in before.items())
    assert far > 1e-5
    is_seen = False
    for name, weight in ends[0.0].items():
        first = weights(one_step)[name] - before[name]
        want = weight - MU * first
        is_seen = is_seen or not torch.allclose(want, weight, atol=1e-4)
        assert torch.allclose(ends[MU][name], want, atol=1e-6), name
    assert is_seen
