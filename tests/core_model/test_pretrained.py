import pytest
import timm
import torch
from typer.testing import CliRunner

from core_model.action_units import BP4D, DISFA_8
from core_model.checkpoint import load_checkpoint, save_checkpoint
from core_model.cli import app
from core_model.config import FinetuneConfig, PretrainConfig
from core_model.export import to_mae, write_mae
from core_model.mae_layout import LayoutError, interpolate_positions
from core_model.nn.encoder import Encoder
from core_model.nn.iat import IATModel
from core_model.nn.initial import initial_weights
from core_model.nn.mae import MaskedAutoencoder, random_order
from core_model.nn.weights import set_arrays
from core_model.pretrained import import_mae, read_state
from tests.core_model import official

SIZES = ["small", pytest.param("base", marks=pytest.mark.slow)]
SIZES += [pytest.param("large", marks=pytest.mark.slow)]
IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))


def close(got, want):
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[n], other[n]) for n in one)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_au_detector_agrees_with_stock_timm(size, tmp_path) -> None:
    stock = official.detector(size)
    people = {"ID_head.weight": torch.randn(41, stock.embed_dim), "ID_head.bias": torch.zeros(41)}
    path = official.save(tmp_path / "au.pth", stock.state_dict() | people)
    got = import_mae(path, action_units=BP4D)
    model = IATModel(got.manifest.encoder, BP4D, 1, FinetuneConfig()).eval()
    set_arrays(model, got.arrays)
    close(model(IMAGES)[0], stock(IMAGES))
    assert got.manifest.source.dropped == ("ID_head.bias", "ID_head.weight")
    assert "templates of the people" in got.notes[0]
    assert not any("identity" in n or "ID_head" in n for n in got.arrays)
    same(to_mae(got.arrays, got.manifest), stock.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_encoder_agrees_with_stock_timm(size, tmp_path) -> None:
    stock = official.encoder(size)
    path = official.save(tmp_path / "mae.pth", stock.state_dict())
    got = import_mae(path)
    assert got.manifest.encoder.positions == "fixed"
    ours = Encoder(got.manifest.encoder).eval()
    set_arrays(ours, {n.removeprefix("encoder."): a for n, a in got.arrays.items()})
    close(ours.norm(ours.tokens(ours.embed(IMAGES))), stock.forward_features(IMAGES))
    same(to_mae(got.arrays, got.manifest), stock.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("trained_positions", [False, True])
def test_autoencoder_agrees_with_a_reference(trained_positions, tmp_path) -> None:
    stock = official.encoder(depth=2)
    state = dict(stock.state_dict()) | official.decoder_state(stock.embed_dim)
    if trained_positions:
        chance = torch.Generator().manual_seed(2)
        for name in ("pos_embed", "decoder_pos_embed"):
            state[name] = state[name] + 0.1 * torch.randn(state[name].shape, generator=chance)
        stock.load_state_dict({n: t for n, t in state.items() if n in stock.state_dict()})
    got = import_mae(official.save(tmp_path / "m.pth", state), keep_decoder=True)
    assert got.manifest.encoder.positions == ("stored" if trained_positions else "fixed")
    config = PretrainConfig(decoder_dim=64, decoder_depth=2, decoder_heads=16)
    ours = MaskedAutoencoder(got.manifest.encoder, config).eval()
    set_arrays(ours, got.arrays)
    order = random_order(2, 196, torch.Generator().manual_seed(3))
    kept = order[:, : ours.num_kept]
    # Stock timm runs the encoder over the kept patches.
    tokens = stock.patch_embed(IMAGES) + state["pos_embed"][:, 1:]
    tokens = tokens.gather(1, kept[..., None].expand(-1, -1, stock.embed_dim))
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(2, -1, -1)
    latent = stock.norm(stock.blocks(torch.cat([first, tokens], dim=1)))
    close(ours(IMAGES, order), official.decode(state, latent, kept, 196))
    same(to_mae(got.arrays, got.manifest), state)


@torch.no_grad()
def test_detector_on_the_class_token_agrees_with_stock_timm(tmp_path) -> None:
    stock = official._moved(timm.create_model("vit_small_patch16_224", num_classes=8, depth=2), 0)
    path = official.save(tmp_path / "au.pth", stock.state_dict())
    got = import_mae(path, action_units=DISFA_8)
    model = IATModel(got.manifest.encoder, DISFA_8, 1, FinetuneConfig()).eval()
    set_arrays(model, got.arrays)
    close(model(IMAGES)[0], stock(IMAGES))
    same(to_mae(got.arrays, got.manifest), stock.state_dict())


@torch.no_grad()
def test_another_image_size_interpolates_as_timm_does_without_antialias(tmp_path) -> None:
    stock = official.detector(depth=2)
    path = official.save(tmp_path / "au.pth", stock.state_dict())
    got = import_mae(path, action_units=BP4D, image_size=112)
    model = IATModel(got.manifest.encoder, BP4D, 1, FinetuneConfig()).eval()
    set_arrays(model, got.arrays)
    smaller = official.detector(depth=2, img_size=112)
    table = timm.layers.resample_abs_pos_embed(stock.pos_embed, [7, 7], antialias=False)
    smaller.load_state_dict(stock.state_dict() | {"pos_embed": table})
    images = torch.randn(2, 3, 112, 112)
    close(model(images)[0], smaller(images))


def test_interpolation_keeps_a_place_in_the_face() -> None:
    ramp = torch.linspace(0, 1, 14).repeat(14, 1).reshape(1, 196, 1)
    table = torch.cat([torch.zeros(1, 1, 1), ramp], dim=1)
    small = interpolate_positions(table, 7)[0, 1:].reshape(7, 7)
    assert small.shape == (7, 7)
    assert (small[0, 0], small[0, 3]) == (pytest.approx(0.04, abs=0.01), pytest.approx(0.5))


def test_stored_positions_are_never_trained(tmp_path) -> None:
    stock = official.detector(depth=1)
    got = import_mae(official.save(tmp_path / "a.pth", stock.state_dict()), action_units=BP4D)
    model = IATModel(got.manifest.encoder, BP4D, 1, FinetuneConfig())
    set_arrays(model, got.arrays)
    model(IMAGES)[0].sum().backward()
    assert model.encoder.positions.table.grad is None
    assert model.encoder.class_token.token.grad is not None


def test_decoder_is_left_out_unless_asked_for(tmp_path) -> None:
    stock = official.encoder(depth=1)
    state = dict(stock.state_dict()) | official.decoder_state(stock.embed_dim)
    got = import_mae(official.save(tmp_path / "m.pth", state), action_units=(1, 4))
    assert {n.split(".")[0] for n in got.arrays} == {"encoder", "au_head"}
    assert "mask_token" in got.manifest.source.dropped
    fresh, schema = initial_weights(got.manifest.encoder, (1, 4), 0)
    assert fresh.keys() == got.arrays.keys()  # a federation can start from it
    assert schema.parameters == got.manifest.weights.parameters


def test_our_own_weights_come_back_to_the_bit(tmp_path) -> None:
    from core_model.config import encoder_config

    config = encoder_config("tiny", 64)
    arrays, schema = initial_weights(config, (1, 2), 0)
    from core_model.checkpoint import CheckpointManifest
    from core_model.protocol.messages import digest

    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=config, action_units=(1, 2)
    )
    write_mae(tmp_path / "x.pth", arrays, manifest)
    got = import_mae(tmp_path / "x.pth", action_units=(1, 2), licence="Apache-2.0")
    assert got.manifest.digest == manifest.digest
    assert got.manifest.encoder == config
    micro, schema = initial_weights(encoder_config("micro"), (1,), 0)
    odd = manifest.model_copy(update={"encoder": encoder_config("micro"), "weights": schema})
    with pytest.raises(LayoutError, match="plain"):
        to_mae(micro, odd)


def test_commands(tmp_path) -> None:
    stock = official.detector(depth=1, num_aus=8)
    path = official.save(tmp_path / "disfa.pth", stock.state_dict())
    out, back = tmp_path / "disfa.safetensors", tmp_path / "back.pth"
    run = CliRunner()
    unsaid = run.invoke(app, ["import", str(path), str(out)])
    assert (unsaid.exit_code, "has 8 rows" in unsaid.output) == (1, True)
    done = run.invoke(app, ["import", str(path), str(out), "--aus", "disfa"])
    assert done.exit_code == 0, done.output
    for command in (["show", str(out)], ["export", str(out), str(back)]):
        shown = run.invoke(app, command)
        assert shown.exit_code == 0, shown.output
        assert "CC-BY-NC-4.0: not for commercial use" in shown.output
    same(read_state(back), stock.state_dict())
    arrays, manifest = load_checkpoint(out)
    save_checkpoint(tmp_path / "again.safetensors", arrays, manifest)
