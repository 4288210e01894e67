import torch

from core_model.config import EncoderConfig, PretrainConfig
from core_model.nn.mae import MaskedAutoencoder, masked_pixel_loss, patchify, random_order

ENCODER = EncoderConfig(image_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=4)
CONFIG = PretrainConfig(decoder_dim=16, decoder_depth=1, decoder_heads=2)


def written_out_loss(predicted, patches, masked, normalise):
    """The loss of the paper, one patch and one pixel at a time."""
    total, hidden = 0.0, 0
    for n in range(patches.shape[0]):
        for k in range(patches.shape[1]):
            if not masked[n, k]:
                continue
            true = [float(v) for v in patches[n, k]]
            if normalise:
                mean = sum(true) / len(true)
                variance = sum((v - mean) ** 2 for v in true) / (len(true) - 1)
                true = [(v - mean) / (variance + 1e-6) ** 0.5 for v in true]
            drawn = [float(v) for v in predicted[n, k]]
            total += sum((a - b) ** 2 for a, b in zip(drawn, true, strict=True)) / len(true)
            hidden += 1
    return total / hidden


def test_loss_agrees_with_the_written_out_one() -> None:
    chance = torch.Generator().manual_seed(0)
    predicted, patches = (torch.randn(2, 4, 12, generator=chance) for _ in range(2))
    masked = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1]])
    for normalise in (True, False):
        got = masked_pixel_loss(predicted, patches, masked, normalise=normalise)
        assert abs(float(got) - written_out_loss(predicted, patches, masked, normalise)) < 1e-5


def test_patches_lie_row_by_row() -> None:
    image = torch.arange(3 * 4 * 4).float().view(1, 3, 4, 4)
    patches = patchify(image, 2)
    assert patches.shape == (1, 4, 12)
    # Patch 1 is the upper right one; its first pixel has the colours of column 2.
    assert patches[0, 1, :3].tolist() == [2.0, 18.0, 34.0]


def test_hidden_pixels_do_not_reach_the_drawing() -> None:
    """Nothing of a hidden patch may be seen, also through the convolutions of the stem."""
    for stem, patch in (("patch", 8), ("convolution", 16)):
        encoder = ENCODER.model_copy(
            update={"stem": stem, "patch_size": patch, "image_size": patch * 4, "embed_dim": 64}
        )
        model = MaskedAutoencoder(encoder, CONFIG).eval()
        order = random_order(1, 16, torch.Generator().manual_seed(1))
        image = torch.randn(1, 3, patch * 4, patch * 4)
        hidden = 1 - model.visible(order, patch * 4)
        assert hidden.mean() == 0.75
        with torch.no_grad():
            before = model(image, order)
            after = model(image + hidden * torch.randn_like(image), order)
        assert torch.equal(before, after)


def test_drawing_sees_the_kept_pixels() -> None:
    model = MaskedAutoencoder(ENCODER, CONFIG).eval()
    order = random_order(1, 16, torch.Generator().manual_seed(1))
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model(image, order), model(image + 1, order))


def test_each_image_gets_an_order_of_its_own() -> None:
    order = random_order(8, 16, torch.Generator().manual_seed(0))
    assert (order.sort(dim=1).values == torch.arange(16)).all()
    assert len({tuple(row.tolist()) for row in order}) == 8
