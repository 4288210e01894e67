"""Identity adversarial training (IAT; arXiv 2407.11243): find AUs without leaning on who it is.

One pooled feature feeds two linear heads. The AU head is trained as usual. The identity head learns
to name the person, and gradient reversal makes the encoder unlearn what it uses.

Shapes: N = batch, D = feature dimension, A = action units, S = subjects of this site.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from core_model.config import EncoderConfig, FinetuneConfig
from core_model.nn.encoder import Encoder
from core_model.nn.gradient_reversal import GradientReversal


class IATModel(nn.Module):
    """Encoder, AU head and linear identity head."""

    def __init__(
        self,
        encoder: EncoderConfig,
        action_units: tuple[int, ...],
        num_identities: int,
        config: FinetuneConfig,
    ) -> None:
        super().__init__()
        self.action_units = action_units
        self.encoder = Encoder(encoder, drop_path=config.drop_path)
        self.au_head = nn.Linear(encoder.embed_dim, len(action_units))
        self.reversal = GradientReversal(config.reversal_scale)
        # Linear on purpose: a deep head would hide identity from itself (paper, section 4).
        self.identity_head = nn.Linear(encoder.embed_dim, num_identities)
        nn.init.trunc_normal_(self.au_head.weight, std=2e-5)
        nn.init.zeros_(self.au_head.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return AU and identity logits. Shapes: (N, 3, H, W) -> (N, A), (N, S)."""
        return self.heads(self.encoder(images))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return AU and identity logits. Shapes: (N, D) -> (N, A), (N, S)."""
        return self.au_head(features), self.identity_head(self.reversal(features))


def au_loss(logits: Tensor, aus: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy over the known labels of each example, then the mean over examples.

    An example without any known label counts as zero. Shapes: (N, A) each; a scalar.
    """
    return au_losses(logits, aus, known).mean()


def au_losses(
    logits: Tensor, aus: Tensor, known: Tensor, positive_weights: Tensor | None = None
) -> Tensor:
    """The same for each example. Shapes: (N, A) each; (N,).

    No example looks at another, so that per-example clipping keeps its meaning. With
    ``positive_weights`` (A,) a positive label counts that much more.
    """
    per_label = known * F.binary_cross_entropy_with_logits(
        logits, aus, reduction="none", pos_weight=positive_weights
    )
    return per_label.sum(dim=1) / known.sum(dim=1).clamp(min=1)


def identity_loss(logits: Tensor, identities: Tensor, kind: Literal["bce_onehot", "ce"]) -> Tensor:
    """Loss of the identity head. Shapes: logits (N, S), identities (N,); a scalar.

    ``bce_onehot`` is the paper's: binary cross-entropy on the one-hot person, mean over batch and
    people. Its gradient at chance is tens of times smaller than that of ``ce`` (cross-entropy).
    """
    if kind == "ce":
        return F.cross_entropy(logits, identities)
    target = F.one_hot(identities, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target)


def identity_losses(
    logits: Tensor, identities: Tensor, kind: Literal["bce_onehot", "ce"]
) -> Tensor:
    """The same for each example. Shapes: logits (N, S), identities (N,); (N,)."""
    if kind == "ce":
        return F.cross_entropy(logits, identities, reduction="none")
    target = F.one_hot(identities, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)


def confusion_losses(logits: Tensor) -> Tensor:
    """How far a head is from naming everybody alike. Shapes: (N, S); (N,), zero at best.

    For a head of other people: nobody here has a row in it, so there is no right answer to unlearn.
    Divergence of the head's answer from the uniform one (as the domain confusion of Tzeng et al.,
    arXiv 1510.02192).
    """
    return -logits.log_softmax(dim=1).mean(dim=1) - math.log(logits.shape[1])
