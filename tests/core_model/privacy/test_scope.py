import pytest
import torch

from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import schema_of
from core_model.privacy.averaging import IterateMean
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.scope import trainable
from core_model.privacy.sent import sent_back
from core_model.schema import Role

ENCODER = EncoderConfig(
    image_size=32, embed_dim=64, depth=3, num_heads=2, stem="convolution", pooling="weighted",
    positions="stored",
)  # fmt: skip
AUTOENCODER = PretrainConfig(decoder_dim=8, decoder_depth=1, decoder_heads=2)


def plan(**changes):
    return PrivacyPlan.model_validate({
        "sampling_rate": 0.5, "nominal_units": 10, "steps_per_round": 1, "noise_multiplier": 1.0,
        **changes,
    })  # fmt: skip


def names(model, **changes):
    return trainable(schema_of(model), plan(**{"scope": "full", **changes}))


DETECTOR = IATModel(ENCODER, (1, 2), 3, FinetuneConfig())
HEAD = ("au_head.weight", "au_head.bias")


def test_head_alone() -> None:
    assert names(DETECTOR, scope="head") == HEAD


def test_norms_are_all_vectors_and_the_head() -> None:
    got = names(DETECTOR, scope="norms")
    assert set(HEAD) < set(got)
    assert {"encoder.norm.weight", "encoder.blocks.1.attn.qkv.bias"} < set(got)
    assert {"encoder.patches.steps.1.weight", "encoder.patches.steps.0.bias"} < set(got)
    weights = dict(DETECTOR.named_parameters())
    assert all(weights[n].ndim == 1 for n in set(got) - set(HEAD))
    assert "encoder.class_token.token" not in got


@pytest.mark.parametrize(
    ("last_k", "blocks"), [(1, {2}), (2, {1, 2}), (3, {0, 1, 2}), (9, {0, 1, 2})]
)
def test_last_blocks(last_k, blocks) -> None:
    got = names(DETECTOR, scope="last_k", last_k=last_k)
    assert {int(n.split(".")[2]) for n in got if n.startswith("encoder.blocks.")} == blocks
    assert set(HEAD) | {"encoder.norm.weight", "encoder.pool.weight"} < set(got)
    assert not [n for n in got if n.startswith(("encoder.patches.", "encoder.class_token."))]


def test_full_leaves_out_what_names_people_and_where_things_are() -> None:
    every = {n for n, _ in DETECTOR.named_parameters()}
    left_out = every - set(names(DETECTOR))
    assert left_out == {"encoder.positions.table", "identity_head.weight", "identity_head.bias"}


@pytest.mark.parametrize(
    ("people", "scope"), [(16, "norms"), (999, "norms"), (1000, "last_k"), (10_000, "full")]
)
def test_the_default_follows_the_number_that_is_public(people, scope) -> None:
    assert plan(nominal_units=people).scope == scope
    assert plan(nominal_units=people, scope="head").scope == "head"


def test_adapters_and_the_head() -> None:
    adapted = IATModel(ENCODER.model_copy(update={"lora_rank": 2}), (1, 2), 3, FinetuneConfig())
    schema = schema_of(adapted)
    adapters = {p.name for p in schema.parameters if p.role is Role.ADAPTER}
    assert len(adapters) == 2 * 4 * ENCODER.depth  # two matrices, four layers of each block
    assert set(names(adapted, scope="lora")) == {*HEAD, *adapters}
    for scope in ("head", "norms", "last_k"):
        assert not adapters & set(names(adapted, scope=scope))
    shared = schema.shared("finetuning")
    back = sent_back(shared, plan(scope="lora"))
    assert {p.name for p in back.parameters} == {*HEAD, *adapters}
    assert back.num_bytes() < shared.num_bytes() / 10


def test_adapters_that_are_not_there_are_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match="omote-model adapt"):
        names(DETECTOR, scope="lora")


@pytest.mark.parametrize("scope", ["norms", "last_k", "full"])
def test_a_decoder_always_learns_under_the_noise(scope) -> None:
    model = MaskedAutoencoder(ENCODER, AUTOENCODER)
    got = names(model, scope=scope)
    decoder = {n for n, _ in model.named_parameters() if n.startswith("decoder.")}
    assert {n for n in got if n.startswith("decoder.")} == decoder - {"decoder.positions.table"}


def test_pretraining_has_no_head_to_train_alone() -> None:
    with pytest.raises(ValueError, match="pretraining has none"):
        names(MaskedAutoencoder(ENCODER, AUTOENCODER), scope="head")


def test_a_mean_of_iterates_is_closer_than_the_last() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(1000))
    mean = IterateMean([weight], 0.99)
    for _ in range(300):
        with torch.no_grad():
            weight.copy_(1 + torch.randn(1000))
        mean.update()
    last = float((weight.detach() - 1).norm())
    mean.store()
    assert float((weight.detach() - 1).norm()) < 0.2 * last
    untouched = IterateMean([weight], 0.0)
    before = weight.detach().clone()
    untouched.update()
    untouched.store()
    assert torch.equal(weight, before)
