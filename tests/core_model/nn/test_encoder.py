import pytest
import timm
import torch

from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig, encoder_config
from core_model.nn.encoder import Encoder, sincos_positions
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.schema import Role


def test_agrees_with_the_stock_vit_of_timm() -> None:
    """An independent ViT with the same weights gives the same features."""
    config = EncoderConfig(image_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4)
    ours = Encoder(config).eval()
    stock = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0,
        global_pool="avg",
    ).eval()  # fmt: skip
    names = {
        "patches.project": "patch_embed.proj",
        "class_token.token": "cls_token",
        "norm.": "fc_norm.",
    }
    state = {}
    for name, value in ours.state_dict().items():
        for old, new in names.items():
            name = new + name[len(old) :] if name.startswith(old) else name
        state[name] = value
    # timm adds a position to the class token too: zero, as in MAE.
    table = sincos_positions(4, 32)
    state["pos_embed"] = torch.cat([torch.zeros(1, 32), table])[None]
    stock.load_state_dict({k: v for k, v in state.items() if k != "positions.table"})
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), stock(images), atol=1e-5, rtol=1e-5)


def test_positions_are_all_different_and_fixed() -> None:
    table = sincos_positions(7, 32)
    assert torch.cdist(table, table).add(torch.eye(49)).min() > 0.1
    assert "table" not in "".join(n for n, _ in Encoder(encoder_config("micro")).named_parameters())


@pytest.mark.parametrize("size", ["micro", "tiny"])
def test_any_image_size(size) -> None:
    config = encoder_config(size, 96)
    assert Encoder(config)(torch.randn(2, 3, 96, 96)).shape == (2, config.embed_dim)


def test_every_weight_has_a_role_and_survives_a_round_trip() -> None:
    encoder = encoder_config("micro")
    detector = IATModel(encoder, (1, 2, 4), 5, FinetuneConfig())
    autoencoder = MaskedAutoencoder(
        encoder, PretrainConfig(decoder_dim=16, decoder_depth=1, decoder_heads=2)
    )
    for model in (detector, autoencoder):
        schema = schema_of(model)
        assert len(schema.parameters) == sum(1 for _ in model.parameters())
        arrays = {n: a + 1 for n, a in get_arrays(model, schema).items()}
        set_arrays(model, arrays)
        again = get_arrays(model, schema)
        assert all((again[n] == arrays[n]).all() for n in arrays)
    shared = schema_of(detector).shared("finetuning")
    assert {p.role for p in shared.parameters} == {Role.ENCODER, Role.AU_HEAD}
    assert schema_of(autoencoder).shared("pretraining").parameters == tuple(
        p for p in shared.parameters if p.role is Role.ENCODER
    )
