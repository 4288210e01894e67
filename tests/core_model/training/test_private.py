"""The private loops: who may move whom, through the whole network and its loss."""

import math

import numpy as np
import pytest
import torch

from core_model.config import PretrainConfig
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.predict import predict
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.privacy.chance import Chance, SimulationChance, SystemChance
from core_model.privacy.clipping import UnitClipper
from core_model.privacy.plan import PrivacyPlan
from core_model.training.private import (
    FinetuningLoss,
    PretrainingLoss,
    finetune_privately,
    identity_slots,
    pretrain_privately,
)
from tests.federation import ENCODER, FINETUNING, PRETRAINING, write_faces

CPU = torch.device("cpu")
PEOPLE, AUS = 5, (1, 2)
HEADS = ("none", "frozen", "inside")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return read_recordings(write_faces(tmp_path_factory.mktemp("faces"), "t", AUS, people=PEOPLE))


@pytest.fixture(scope="module")
def dataset(recordings):
    return FrameDataset(recordings, 32, AUS)


def plan(**changes):
    return PrivacyPlan.model_validate({
        "sampling_rate": 0.8, "nominal_units": 5, "frames_per_subject": 4, "steps_per_round": 2,
        "noise_multiplier": 1.0, "clip_norm": 0.1, "identity_slots": 6, "scope": "full",
        **changes,
    })  # fmt: skip


def config(head, **changes):
    scale = 0.0 if head == "none" else 0.7
    return FINETUNING.model_copy(update={"reversal_scale": scale, **changes})


def detector(settings):
    torch.manual_seed(0)
    model = IATModel(ENCODER, AUS, 6, settings)
    torch.nn.init.normal_(model.au_head.weight, std=0.2)
    return model


def test_features_of_a_frozen_encoder_change_nothing(dataset) -> None:
    """Scope head learns the same from what the encoder said before as from the faces."""
    settings = config("none", augment=False, drop_path=0.0)
    heads = []
    for known in (False, True):
        model = detector(settings)
        features = predict(model, dataset, device=CPU)[1]
        finetune_privately(
            model, dataset, settings, plan(scope="head"), device=CPU, chance=SimulationChance(0),
            charge=lambda _: None, features=torch.from_numpy(features) if known else None,
        )  # fmt: skip
        heads.append(model.au_head.weight.detach())
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-4, atol=1e-6)
    assert not torch.equal(heads[0], detector(settings).au_head.weight)
    with pytest.raises(ValueError, match="only in scope head"):
        finetune_privately(
            detector(settings), dataset, settings, plan(), device=CPU, chance=SimulationChance(0),
            charge=lambda _: None, features=torch.from_numpy(features),
        )  # fmt: skip


def moved(model, before):
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


class Replay(Chance):
    """Everybody is drawn, frames do not change, and there is no noise."""

    is_private = False

    def _key(self) -> bytes:
        return bytes(48)

    def uniform(self, num: int):
        return np.full(num, 0.5)

    def bernoulli(self, num: int, rate: float):
        return np.ones(num, bool)

    def gaussian(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.float64)


def plain_descent(trained, *_):
    groups = [{"params": [weight], "rate_scale": 1.0} for _, weight in trained]
    return torch.optim.SGD(groups, lr=1.0)


@pytest.mark.parametrize("reversal", ["absolute", "relative"])
@pytest.mark.parametrize("head", HEADS)
def test_leaving_one_person_out_moves_the_whole_network_no_further_than_promised(
    recordings, head, reversal
) -> None:
    """Neighbouring replay through the loop that sites run: same draw, one person less, no noise."""
    settings = config(head, reversal=reversal, augment=False, drop_path=0.0)
    promise = plan(identity_head=head, steps_per_round=1)
    optimiser = settings.optimiser.model_copy(
        update={"learning_rate": 1.0, "min_learning_rate": 1.0, "warmup": 0.0}
    )
    settings = settings.model_copy(update={"optimiser": optimiser})

    def step_on(left_out=None):
        model = detector(settings)
        before = weights(model)
        chosen = [r for r in recordings if r.subject_id != left_out]
        finetune_privately(
            model, FrameDataset(chosen, 32, AUS), settings, promise, device=CPU, chance=Replay(),
            charge=lambda _: None, optimiser_of=plain_descent,
        )  # fmt: skip
        after = weights(model)
        return torch.cat([(after[n] - before[n]).double().flatten() for n in before])

    clips = [promise.clip_norm, promise.clip_norm * promise.identity_clip * (head == "inside")]
    bound = math.sqrt(sum(c * c for c in clips)) / promise.denominator
    everybody = step_on()
    apart = [float((everybody - step_on(f"t-p{i}")).norm()) for i in range(PEOPLE)]
    assert max(apart) <= bound * (1 + 1e-4)
    assert max(apart) > 0.5 * bound


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("reversal", ["absolute", "relative"])
def test_no_frame_looks_at_another(dataset, head, reversal) -> None:
    settings = config(head, reversal=reversal, augment=False, drop_path=0.0)
    model = detector(settings)
    loss = FinetuningLoss(
        model, dataset, settings, plan(identity_head=head), CPU, torch.Generator()
    )
    loss.progress = 0.9
    frames = torch.arange(8)
    together = loss(frames)
    assert together.shape == (8,)
    alone = torch.cat([loss(frames[i : i + 1]) for i in range(8)])
    assert torch.allclose(together, alone, atol=1e-6)
    clipper = UnitClipper(model, clip_everything(model, head))
    for row in (0, 5):  # the gradient too: scales of the reversal are made for each frame alone
        one = clipper.clipped_sums(loss, frames[row : row + 1, None])
        rest = clipper.clipped_sums(loss, torch.cat([frames[:row], frames[row + 1 :]])[:, None])
        both = clipper.clipped_sums(loss, frames[:, None])
        assert all(torch.allclose(both[n], one[n] + rest[n], atol=1e-5) for n in both)
    clipper.release()


def clip_everything(model, head):
    from core_model.nn.weights import schema_of
    from core_model.privacy.clipping import ClipGroup
    from core_model.privacy.scope import trainable

    groups = [ClipGroup(trainable(schema_of(model), plan()), 1.0)]
    if head == "inside":
        groups.append(ClipGroup(("identity_head.weight", "identity_head.bias"), 0.25))
    return groups


def test_no_face_looks_at_another_in_pretraining(dataset) -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(ENCODER, PRETRAINING)
    images = dataset[torch.arange(6)].images
    order = torch.rand(6, ENCODER.num_patches).argsort(dim=1)
    together = model.losses(images, order)
    alone = torch.cat([model.losses(images[i : i + 1], order[i : i + 1]) for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together.mean(), model.loss(images, order), atol=1e-6)
    loss = PretrainingLoss(model, dataset, CPU, torch.Generator())
    assert loss(torch.arange(6)).shape == (6,)


def test_a_frozen_head_stays_and_one_inside_learns(dataset) -> None:
    for head, learns in (("none", False), ("frozen", False), ("inside", True)):
        settings = config(head, drop_path=0.2)
        model = detector(settings)
        before = weights(model)
        charged = []
        finetune_privately(
            model, dataset, settings, plan(identity_head=head, views_per_frame=2), device=CPU,
            chance=SystemChance(), charge=charged.append,
        )  # fmt: skip
        got = moved(model, before)
        assert ("identity_head.weight" in got) == ("identity_head.bias" in got) == learns
        assert {"au_head.weight", "encoder.patches.project.weight"} < got
        assert charged == [1, 1]
        assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_frozen_head_is_confused_not_the_other_way_round(dataset) -> None:
    """Without noise the encoder moves towards features from which the head names all alike."""
    settings = config("frozen", reversal="absolute", reversal_scale=20.0, augment=False)
    settings = settings.model_copy(
        update={"optimiser": settings.optimiser.model_copy(update={"learning_rate": 3e-3})}
    )
    model = detector(settings)
    torch.nn.init.normal_(model.identity_head.weight, std=0.5)

    def sureness():
        logits = model.identity_head(model.encoder(dataset[torch.arange(20)].images))
        return float(logits.softmax(dim=1).amax(dim=1).mean())

    before = sureness()
    promise = plan(identity_head="frozen", steps_per_round=25, noise_multiplier=1e-6)
    finetune_privately(
        model, dataset, settings, promise, device=CPU, chance=SimulationChance(0),
        charge=lambda _: None,
    )  # fmt: skip
    assert sureness() < before - 0.05


def test_reversal_without_a_head_under_the_plan_is_refused(dataset) -> None:
    settings = config("frozen")
    with pytest.raises(ValueError, match="would break the guarantee"):
        finetune_privately(
            detector(settings), dataset, settings, plan(), device=CPU, chance=SystemChance(),
            charge=lambda _: None,
        )  # fmt: skip
    with pytest.raises(ValueError, match="expected an identity head of 7 slots, got 6"):
        finetune_privately(
            detector(settings), dataset, settings, plan(identity_head="inside", identity_slots=7),
            device=CPU, chance=SystemChance(), charge=lambda _: None,
        )  # fmt: skip


def test_slots_do_not_shift_when_somebody_leaves() -> None:
    people = tuple(f"person-{i}" for i in range(20))
    slots = dict(zip(people, identity_slots(people, 8).tolist(), strict=True))
    fewer = dict(zip(people[1:], identity_slots(people[1:], 8).tolist(), strict=True))
    assert all(slots[p] == slot for p, slot in fewer.items())
    assert set(slots.values()) <= set(range(8))
    assert len(set(slots.values())) > 4


def test_training_learns_when_noise_is_small(dataset) -> None:
    """Clipped, sampled and averaged steps still find what plain training finds."""
    optimiser = FINETUNING.optimiser.model_copy(
        update={"learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 64}
    )
    settings = config("none", optimiser=optimiser, augment=False, drop_path=0.0)
    model = detector(settings)
    loss = FinetuningLoss(model, dataset, settings, plan(), CPU, torch.Generator())
    before = float(loss(torch.arange(20)).detach().mean())
    promise = plan(noise_multiplier=0.01, steps_per_round=40, averaging=0.8)
    finetune_privately(
        model, dataset, settings, promise, device=CPU, chance=SimulationChance(1),
        charge=lambda _: None,
    )  # fmt: skip
    assert float(loss(torch.arange(20)).detach().mean()) < 0.8 * before


def test_pretraining_moves_encoder_and_decoder_alike(dataset) -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(ENCODER, PretrainConfig(**PRETRAINING.model_dump()))
    before, charged = weights(model), []
    pretrain_privately(
        model, dataset, PRETRAINING, plan(), device=CPU, chance=SystemChance(),
        charge=charged.append,
    )  # fmt: skip
    assert moved(model, before) == set(before)
    assert charged == [1, 1]
