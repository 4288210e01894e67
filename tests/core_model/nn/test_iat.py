import numpy as np
import pytest
import torch
from torch.nn import functional as F

from core_model.config import EncoderConfig, FinetuneConfig
from core_model.nn.iat import IATModel, au_loss, identity_loss

ENCODER = EncoderConfig(image_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=4)


def test_au_loss_agrees_with_a_loop() -> None:
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=chance)
    aus = (torch.rand(5, 3, generator=chance) < 0.4).float()
    known = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 0]])
    rows = []
    for n in range(5):
        terms = [
            np.log1p(np.exp(-float(logits[n, a]) * (1 if aus[n, a] else -1)))
            for a in range(3)
            if known[n, a]
        ]
        rows.append(sum(terms) / len(terms) if terms else 0.0)
    assert abs(float(au_loss(logits, aus, known)) - np.mean(rows)) < 1e-6


def test_unknown_labels_give_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    known = torch.zeros(4, 3)
    known[0, 1] = 1
    au_loss(logits, torch.ones(4, 3), known).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).nonzero().tolist() == [[0, 1]]


def test_a_batch_without_any_label_is_zero_and_finite() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = au_loss(logits, torch.ones(4, 3), torch.zeros(4, 3))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(4, 3))


def test_paper_identity_loss_is_binary_cross_entropy_over_people() -> None:
    logits, who = torch.randn(2, 3), torch.tensor([2, 0])
    p = logits.sigmoid()
    want = -sum(
        float((p[n, s] if s == who[n] else 1 - p[n, s]).log()) for n in range(2) for s in range(3)
    )
    assert abs(float(identity_loss(logits, who, "bce_onehot")) - want / 6) < 1e-6
    assert identity_loss(logits, who, "ce") == F.cross_entropy(logits, who)


@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_encoder_climbs_the_identity_loss(scale: float) -> None:
    """The encoder's gradient is that of the AU loss minus scale times that of the identity loss."""
    torch.manual_seed(0)
    model = IATModel(ENCODER, (1, 2), 3, FinetuneConfig(reversal_scale=scale, drop_path=0.0))
    torch.nn.init.normal_(model.au_head.weight)
    images, who = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    aus, known = torch.ones(4, 2), torch.ones(4, 2)
    weight = model.encoder.norm.weight

    au_logits, identity_logits = model(images)
    (au_loss(au_logits, aus, known) + identity_loss(identity_logits, who, "ce")).backward()
    got = weight.grad.clone()

    features = model.encoder(images)
    (au,) = torch.autograd.grad(au_loss(model.au_head(features), aus, known), weight)
    features = model.encoder(images)
    (identity,) = torch.autograd.grad(
        identity_loss(model.identity_head(features), who, "ce"), weight
    )
    torch.testing.assert_close(got, au - scale * identity)
