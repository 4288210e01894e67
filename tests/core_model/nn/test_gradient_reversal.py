import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core_model.nn.gradient_reversal import GradientReversal


@given(scale=st.floats(0, 50), seed=st.integers(0, 1000))
def test_gradient_is_minus_scale_times_the_plain_one(scale: float, seed: int) -> None:
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    gradients = []
    for path in (torch.nn.Identity(), GradientReversal(scale)):
        leaf = features.clone().requires_grad_()
        path(leaf).sin().sum().backward()
        gradients.append(leaf.grad)
    plain, reversed_ = gradients
    torch.testing.assert_close(reversed_, -scale * plain)


def test_forward_changes_nothing() -> None:
    features = torch.randn(2, 4)
    assert torch.equal(GradientReversal(2.0)(features), features)


def test_negative_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="reversal scale"):
        GradientReversal(-1.0)


def test_identity_head_itself_still_learns() -> None:
    """Only what lies below the reversal is turned round."""
    head = torch.nn.Linear(4, 3)
    leaf = torch.randn(2, 4, requires_grad=True)
    head(GradientReversal(2.0)(leaf)).sum().backward()
    plain = torch.nn.Linear(4, 3)
    plain.load_state_dict(head.state_dict())
    plain(leaf.detach()).sum().backward()
    assert head.weight.grad is not None
    torch.testing.assert_close(head.weight.grad, plain.weight.grad)
