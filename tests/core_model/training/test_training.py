import numpy as np
import pytest
import torch

from core_model.config import FinetuneConfig, OptimiserConfig, PretrainConfig
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.training.device import pick_device
from core_model.training.finetune import finetune, reversal_scale
from core_model.training.pretrain import pretrain
from core_model.training.schedule import layer_of, learning_rate, make_optimiser
from tests.federation import ENCODER, FINETUNING, write_faces

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path):
    listing = write_faces(tmp_path, "t", (1, 2))
    return FrameDataset(read_recordings(listing), 32, (1, 2))


def detector(config, people=3):
    torch.manual_seed(0)
    return IATModel(ENCODER, (1, 2), people, config)


def test_equal_seeds_give_equal_losses_and_weights(dataset) -> None:
    runs = []
    for seed in (1, 1, 2):
        model = detector(FINETUNING)
        log = finetune(model, dataset, FINETUNING, device=CPU, seed=seed)
        runs.append((log.losses["au"], torch.cat([p.flatten() for p in model.parameters()])))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


def test_both_loops_learn(dataset) -> None:
    optimiser = OptimiserConfig(
        learning_rate=3e-3, batch_size=12, epochs_per_round=40, warmup=0.1, weight_decay=0.0
    )
    config = FinetuneConfig(optimiser=optimiser, reversal_scale=0.0, drop_path=0.0, augment=False)
    log = finetune(detector(config), dataset, config, device=CPU, seed=0)
    assert log.mean("au", 3) < 0.6 * log.losses["au"][0]
    pre = PretrainConfig(optimiser=optimiser, decoder_dim=16, decoder_depth=1, decoder_heads=2)
    torch.manual_seed(0)
    mae = pretrain(MaskedAutoencoder(ENCODER, pre), dataset, pre, device=CPU, seed=0)
    assert mae.mean("mae", 3) < mae.losses["mae"][0]


def test_relative_scale_sets_the_length_of_the_reversed_gradient(dataset) -> None:
    model = detector(FINETUNING)
    torch.nn.init.normal_(model.au_head.weight)
    batch = dataset[torch.arange(12)]
    features = model.encoder(batch.images).detach().requires_grad_()
    from core_model.nn.iat import au_loss, identity_loss

    model.reversal.scale = reversal_scale(
        model, features, batch.aus, batch.known, batch.identities, FINETUNING
    )
    au_logits, identity_logits = model.heads(features)
    (au,) = torch.autograd.grad(
        au_loss(au_logits, batch.aus, batch.known), features, retain_graph=True
    )
    loss = identity_loss(identity_logits, batch.identities, FINETUNING.identity_loss)
    (reversed_,) = torch.autograd.grad(loss, features)
    assert float(reversed_.norm() / au.norm()) == pytest.approx(FINETUNING.reversal_scale, rel=1e-4)


def test_paper_preset_is_absolute_and_constant(dataset) -> None:
    config = FinetuneConfig()
    assert (config.reversal, config.identity_loss, config.reversal_scale) == (
        "absolute", "bce_onehot", 2.0,
    )  # fmt: skip
    batch = dataset[torch.arange(4)]
    features = torch.randn(4, 16)
    args = (detector(config), features, batch.aus, batch.known, batch.identities, config)
    assert reversal_scale(*args) == 2.0


def test_schedule_warms_up_and_comes_down() -> None:
    config = OptimiserConfig(learning_rate=1.0, min_learning_rate=0.1, warmup=0.2)
    rates = [learning_rate(config, x) for x in (0.0, 0.1, 0.2, 0.6, 1.0)]
    np.testing.assert_allclose(rates, [0, 0.5, 1.0, 0.55, 0.1])


def test_layers_decay_towards_the_input() -> None:
    model = detector(FINETUNING)
    config = OptimiserConfig(learning_rate=1.0, layer_decay=0.5)
    optimiser = make_optimiser(model.named_parameters(), config, ENCODER.depth)
    names = [n for n, _ in model.named_parameters()]
    scales = {n: g["rate_scale"] for n, g in zip(names, optimiser.param_groups, strict=True)}
    assert scales["encoder.patches.project.weight"] == 0.25
    assert scales["encoder.blocks.0.norm1.weight"] == 0.5
    assert scales["au_head.weight"] == scales["encoder.norm.weight"] == 1.0
    assert layer_of("encoder.blocks.7.attn.qkv.weight", 12) == 8
    decays = {n: g["weight_decay"] for n, g in zip(names, optimiser.param_groups, strict=True)}
    assert decays["au_head.bias"] == decays["encoder.class_token.token"] == 0.0
    assert decays["au_head.weight"] == 0.05


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="expected a device"):
        pick_device("toaster")
    if not torch.cuda.is_available():
        assert pick_device("auto").type == "cpu"
        with pytest.raises(ValueError, match="no CUDA"):
            pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_the_gpu(dataset) -> None:
    log = finetune(detector(FINETUNING), dataset, FINETUNING, device=torch.device("cuda"), seed=0)
    assert np.isfinite(log.losses["au"]).all()
