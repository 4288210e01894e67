"""Clipping on whole models: exact, for whole units, and with nothing that slips past it."""

import copy
import warnings

import pytest
import torch
from torch import nn

from core_model.config import FinetuneConfig, PretrainConfig, encoder_config
from core_model.nn.adapters import AdaptedLinear
from core_model.nn.iat import IATModel, au_losses, identity_losses
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.nn.weights import schema_of
from core_model.privacy.clipping import ClipGroup, UnitClipper, clip_factors
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.scope import trainable
from tests.core_model.privacy.by_hand import apart, clipped_sums, flat, unit_gradients

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
FRAMES = 8


def move_adapters(model):
    """A fresh adapter is zero, and so is the gradient of half of it."""
    for name, weight in model.named_parameters():
        if name.endswith("lora.up.weight"):
            nn.init.normal_(weight, std=0.1)


def detector(size="micro", dtype=torch.float32, **encoder):
    torch.manual_seed(0)
    shape = encoder_config(size, 64).model_copy(update={"depth": 2, **encoder})
    model = IATModel(shape, (1, 2, 4), 5, FinetuneConfig(drop_path=0.0)).to(dtype)
    move_adapters(model)
    nn.init.normal_(model.au_head.weight, std=0.1)
    images, aus = torch.randn(FRAMES, 3, 64, 64, dtype=dtype), torch.rand(FRAMES, 3) < 0.5
    known, people = (torch.rand(FRAMES, 3) < 0.8).to(dtype), torch.arange(FRAMES) % 5

    def loss(frames, images=images):
        au, identity = model(images[frames])
        named = identity_losses(identity, people[frames], "ce")
        return au_losses(au, aus[frames].to(dtype), known[frames]) + named

    return model, loss, images


def autoencoder(size="micro", dtype=torch.float32, **encoder):
    torch.manual_seed(0)
    shape = encoder_config(size, 64).model_copy(update={"depth": 1, **encoder})
    config = PretrainConfig(decoder_dim=32, decoder_depth=1, decoder_heads=2)
    model = MaskedAutoencoder(shape, config).to(dtype)
    move_adapters(model)
    images = torch.rand(FRAMES, 3, 64, 64, dtype=dtype)
    order = random_order(FRAMES, shape.num_patches, torch.Generator().manual_seed(0))
    return model, lambda frames: model.losses(images[frames], order[frames]), images


def names_of(model):
    plan = PrivacyPlan(
        sampling_rate=0.5, nominal_units=9, steps_per_round=1, noise_multiplier=1, scope="full"
    )
    return trainable(schema_of(model), plan)


def with_head(model, clip_norm=1.0):
    head = ("identity_head.weight", "identity_head.bias")
    return [ClipGroup(names_of(model), clip_norm), ClipGroup(head, clip_norm / 4)]


MODELS = {
    "detector, micro: convolutions, weighted pool": (detector, {"size": "micro"}),
    "detector, tiny: patches, mean": (detector, {"size": "tiny"}),
    "detector, class token, stored positions": (
        detector, {"size": "tiny", "pooling": "class", "positions": "stored"},
    ),
    "detector, tiny, adapters": (detector, {"size": "tiny", "lora_rank": 3}),
    "autoencoder, tiny, adapters": (autoencoder, {"size": "tiny", "lora_rank": 2}),
    "autoencoder, micro": (autoencoder, {"size": "micro"}),
    "autoencoder, tiny": (autoencoder, {"size": "tiny"}),
}  # fmt: skip


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("make", "settings"), MODELS.values(), ids=MODELS.keys())
def test_clipped_sums_are_those_of_a_loop(make, settings, dtype, rows) -> None:
    model, loss, _ = make(dtype=dtype, **settings)
    groups = with_head(model) if make is detector else [ClipGroup(names_of(model), 0.3)]
    frames = torch.arange(FRAMES).view(-1, rows)
    every = [n for group in groups for n in group.names]
    gradients = unit_gradients(model, every, loss, frames)
    for clipping in ("hard", "automatic"):
        clipper = UnitClipper(model, groups, clipping)
        ours = clipper.clipped_sums(loss, frames)
        clipper.release()
        used = {n: g for n, g in clipped_sums(gradients, groups, clipping).items() if n in ours}
        unused = [n for n in every if n not in ours]
        assert all(not unit[n].any() for n in unused for unit in gradients), unused
        assert apart(ours, used) < TOLERANCE[dtype]


@pytest.mark.parametrize("clipping", ["hard", "automatic"])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("make", [detector, autoencoder])
def test_one_person_moves_the_sum_by_no_more_than_promised(make, rows, clipping) -> None:
    """Neighbouring replay: the same draw with and without each person, no noise."""
    model, loss, images = make()
    images[:rows] *= 100  # somebody whose gradient is long
    groups = with_head(model, 0.05) if make is detector else [ClipGroup(names_of(model), 0.05)]
    clipper = UnitClipper(model, groups, clipping)
    frames = torch.arange(FRAMES).view(-1, rows)
    everybody = clipper.clipped_sums(loss, frames)
    reached = 0.0
    for left_out in range(len(frames)):
        keep = [i for i in range(len(frames)) if i != left_out]
        others = clipper.clipped_sums(loss, frames[keep])
        for group in groups:
            used = [n for n in group.names if n in everybody]
            moved = torch.cat([(everybody[n] - others[n]).flatten() for n in used]).norm()
            assert moved <= group.clip_norm * (1 + 1e-5)
            reached = max(reached, float(moved / group.clip_norm))
    assert reached > 0.9  # the bound was tested: someone was clipped


def test_a_short_gradient_is_left_as_it_is_by_hard_clipping() -> None:
    norms = torch.tensor([0.0, 0.5, 2.0, torch.inf, torch.nan])
    assert clip_factors(norms, 1.0, "hard").tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
    automatic = clip_factors(norms, 1.0, "automatic")
    assert (automatic * norms.nan_to_num(0, posinf=0) < 1.0).all()
    assert automatic[3:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_person_with_broken_numbers_counts_as_nobody(bad) -> None:
    model, loss, images = detector()
    clipper = UnitClipper(model, with_head(model))
    frames = torch.arange(FRAMES).view(-1, 2)
    without = clipper.clipped_sums(loss, frames[1:])
    images[1, :, 3, 3] = bad
    broken = clipper.clipped_sums(loss, frames)
    assert all(g.isfinite().all() for g in broken.values())
    if bad != 1e30:  # a huge but finite image may leave a finite gradient, which is clipped
        assert apart(broken, without) < 1e-6


def test_left_out_of_one_group_is_left_out_of_all() -> None:
    model, loss, _ = detector()
    clipper = UnitClipper(model, with_head(model))
    frames = torch.arange(FRAMES)[:, None]
    without = clipper.clipped_sums(loss, frames[1:])

    # The identity head's own signal is broken for frame 0.
    hook = model.identity_head.register_full_backward_pre_hook(
        lambda _, grad: (torch.cat([grad[0][:1] * torch.nan, grad[0][1:]]),)
    )
    out = clipper.clipped_sums(loss, frames)
    hook.remove()
    assert apart(out, without) < 1e-6


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize("make", [detector, autoencoder])
@pytest.mark.parametrize("size", ["micro", "tiny"])
@pytest.mark.filterwarnings("ignore")
def test_opacus_agrees_frame_by_frame(make, mode, size, rank) -> None:
    from core_model.privacy.opacus_backend import OpacusClipper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, loss, _ = make(size, lora_rank=rank)
        names = [n for n in names_of(model) if not n.startswith("encoder.pool")]
        adapted = [n for n, m in model.named_modules() if isinstance(m, AdaptedLinear)]
        own = {f"{n}.{short}" for n in adapted for short in ("weight", "bias")}
        names = [n for n in names if n not in own]  # Opacus cannot hold these
        assert any(".lora." in n for n in names) == bool(rank)
        if make is detector:
            names = [*names, "identity_head.weight", "identity_head.bias"]
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in names)
        reference = OpacusClipper(model, 0.5, mode)
        theirs = reference.clipped_sums(loss, torch.arange(FRAMES))
        reference.release()
        clipper = UnitClipper(model, [ClipGroup(tuple(names), 0.5)], "hard")
        ours = clipper.clipped_sums(loss, torch.arange(FRAMES)[:, None])
    assert apart(ours, theirs) < 1e-5


def test_a_head_that_a_step_skips_leaves_nothing_of_the_step_before() -> None:
    model, loss, images = detector()
    clipper = UnitClipper(model, with_head(model))
    frames = torch.arange(FRAMES)[:, None]

    def au_only(frames):
        return model.au_head(model.encoder(images[frames])).square().sum(dim=1)

    def run_but_unused(frames):
        model.identity_head(torch.randn(len(frames), 128))
        return au_only(frames)

    fresh = clipper.clipped_sums(au_only, frames)
    clipper.clipped_sums(loss, frames)
    for skipping in (au_only, run_but_unused):
        after = clipper.clipped_sums(skipping, frames)
        assert "identity_head.weight" not in after
        assert torch.equal(flat(after), flat(fresh))
    with pytest.raises(RuntimeError):
        clipper.clipped_sums(lambda _: (_ for _ in ()).throw(RuntimeError("half way")), frames)
    assert torch.equal(flat(clipper.clipped_sums(au_only, frames)), flat(fresh))


def test_frozen_weights_cost_no_backward_pass_and_get_nothing() -> None:
    model, loss, _ = detector()
    gradients = unit_gradients(model, ["au_head.bias"], loss, torch.arange(FRAMES)[:, None])
    groups = [ClipGroup(("au_head.bias",), 1.0)]
    clipper = UnitClipper(model, groups)
    ours = clipper.clipped_sums(loss, torch.arange(FRAMES)[:, None])
    assert set(ours) == {"au_head.bias"}
    assert apart(ours, clipped_sums(gradients, groups, "automatic")) < 1e-5


def test_no_gradient_of_torch_exists_while_a_clipper_holds_the_model() -> None:
    model, loss, _ = detector("tiny", positions="stored")
    before = [p.requires_grad for p in model.parameters()]
    clipper = UnitClipper(model, with_head(model))
    clipper.clipped_sums(loss, torch.arange(FRAMES)[:, None])
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not loss(torch.arange(FRAMES)).requires_grad
    clipper.release()
    assert [p.requires_grad for p in model.parameters()] == before
    assert loss(torch.arange(FRAMES)).requires_grad


def test_half_precision_is_measured_in_full() -> None:
    model, loss, _ = detector("tiny")
    frames = torch.arange(FRAMES).view(-1, 2)

    def half(frames):
        with torch.autocast("cpu", torch.bfloat16):
            return loss(frames).float()

    groups = with_head(model)
    gradients = unit_gradients(model, [n for g in groups for n in g.names], half, frames)
    clipper = UnitClipper(model, groups, "hard")
    ours = clipper.clipped_sums(half, frames)
    assert all(g.dtype == torch.float32 for g in ours.values())
    assert apart(ours, clipped_sums(gradients, groups, "hard")) < 0.02  # bfloat16: 8 bits


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight


def odd_linear():
    layer = nn.Linear(3, 3)
    layer.register_parameter("scale", nn.Parameter(torch.ones(1)))
    return layer


REFUSED = {
    "tied": (Tied(), ["a.weight"], "a.weight is tied to b.weight"),
    "no rule": (nn.Sequential(nn.Bilinear(2, 2, 2)), ["0.weight"], "0.weight cannot be clipped"),
    "strange weight": (nn.Sequential(odd_linear()), ["0.scale"], "0.scale cannot be clipped"),
    "unknown": (nn.Linear(3, 3), ["weights"], "no weights"),
    "twice": (nn.Linear(3, 3), ["weight", "weight"], "named twice"),
    "batch norm, even frozen": (
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), ["0.weight"], "1: batch norm",
    ),
    "stored positions": (
        detector("tiny", positions="stored")[0], ["encoder.positions.table"],
        "encoder.positions.table cannot be clipped",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "names", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_clipped_is_refused_by_name(model, names, says) -> None:
    model = copy.deepcopy(model)
    with pytest.raises((ValueError, TypeError), match=says):
        UnitClipper(model, [ClipGroup(tuple(names), 1.0)])
    assert all(p.requires_grad for n, p in model.named_parameters() if "positions" not in n)


def test_a_loss_that_averages_over_frames_is_refused() -> None:
    model, loss, _ = detector()
    clipper = UnitClipper(model, with_head(model))
    for wrong in (lambda f: loss(f).mean(), lambda f: loss(f)[:-1], lambda f: loss(f)[:, None]):
        with pytest.raises(ValueError, match="do not average"):
            clipper.clipped_sums(wrong, torch.arange(FRAMES)[:, None])


def test_a_layer_that_runs_twice_is_refused() -> None:
    model, loss, _ = detector()
    clipper = UnitClipper(model, with_head(model))
    with pytest.raises(ValueError, match="ran twice"):
        clipper.clipped_sums(lambda f: loss(f) + loss(f), torch.arange(FRAMES)[:, None])
