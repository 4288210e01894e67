"""Settings of the model and its training, as they stand in TOML and cross the wire in a plan.

Every field is a public number: nothing here is learned from data.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Purpose = Literal["pretraining", "finetuning"]
Size = Literal["micro", "tiny", "small", "base", "large"]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderConfig(Settings):
    """Shape of the vision transformer (ViT). See ``encoder_config`` for the named sizes."""

    image_size: int = Field(224, gt=0)  # pixels a side
    patch_size: int = Field(16, gt=0)  # pixels a side
    embed_dim: int = Field(192, gt=0)
    depth: int = Field(12, gt=0)
    num_heads: int = Field(3, gt=0)
    mlp_ratio: float = Field(4.0, gt=0)
    # The paper's ViT is plain. A small encoder learns far sooner with these two (docs/adr/0003).
    stem: Literal["patch", "convolution"] = "patch"
    pooling: Literal["mean", "weighted", "class"] = "mean"
    # stored: the weights brought positions of their own, kept and never trained (docs/adr/0010).
    positions: Literal["fixed", "stored"] = "fixed"
    # Of low-rank adapters beside the linear layers of every block; 0: there are none.
    lora_rank: int = Field(0, ge=0)
    lora_alpha: float = Field(8.0, gt=0)  # an adapter counts alpha / rank times

    @model_validator(mode="after")
    def _fits(self) -> EncoderConfig:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.stem == "convolution" and self.patch_size != 16:
            raise ValueError(f"the convolution stem has patch_size 16, not {self.patch_size}")
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(f"embed_dim {self.embed_dim} must divide by num_heads and by 4")
        return self

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return int((self.image_size // self.patch_size) ** 2)


_SIZES: dict[Size, tuple[int, int, int, int]] = {
    # (embed_dim, depth, num_heads, patch_size)
    "micro": (128, 2, 4, 16),  # for tests and the demo: 0.6 M weights
    "tiny": (192, 12, 3, 16),
    "small": (384, 12, 6, 16),
    "base": (768, 12, 12, 16),
    "large": (1024, 24, 16, 16),
}


def encoder_config(size: Size, image_size: int | None = None) -> EncoderConfig:
    """Return the encoder of a named size: 64 pixels for ``micro``, else 224, unless given."""
    dim, depth, heads, patch = _SIZES[size]
    pixels = image_size or (64 if size == "micro" else 224)
    return EncoderConfig(
        image_size=pixels,
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        stem="convolution" if size == "micro" else "patch",
        pooling="weighted" if size == "micro" else "mean",
    )


class OptimiserConfig(Settings):
    """AdamW with a warm-up and a half cosine over the whole run, however many rounds it has."""

    learning_rate: float = Field(gt=0)  # peak
    min_learning_rate: float = Field(0.0, ge=0)
    weight_decay: float = Field(0.05, ge=0)  # not on biases and norms
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(0.1, ge=0, lt=1)  # share of the run
    layer_decay: float = Field(1.0, gt=0, le=1)  # factor a layer, from the heads downwards
    batch_size: int = Field(64, gt=1)
    epochs_per_round: int = Field(1, gt=0)


class PretrainConfig(Settings):
    """Masked autoencoding (He et al., arXiv 2111.06377) of unlabelled faces."""

    purpose: Literal["pretraining"] = "pretraining"
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, betas=(0.9, 0.95), warmup=0.05)
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    normalise_pixels: bool = True  # the paper's norm_pix_loss
    decoder_dim: int = Field(512, gt=0)
    decoder_depth: int = Field(8, gt=0)
    decoder_heads: int = Field(16, gt=0)
    share_decoder: bool = False  # a site refuses unless its own settings allow it

    @model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        if self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise ValueError(f"decoder_dim {self.decoder_dim} must divide by decoder_heads and 4")
        return self


class FinetuneConfig(Settings):
    """AU detection with identity adversarial training (IAT, arXiv 2407.11243)."""

    purpose: Literal["finetuning"] = "finetuning"
    optimiser: OptimiserConfig = OptimiserConfig(
        learning_rate=1.25e-4, min_learning_rate=1e-6, layer_decay=0.65
    )
    drop_path: float = Field(0.1, ge=0, lt=1)
    reversal_scale: float = Field(2.0, ge=0)  # the paper's lambda, constant; 0 is plain fine-tuning
    # absolute: the scale times the gradient of the identity loss (the paper). relative: the scale
    # times the length of the AU gradient at the feature, so that it means the same for any loss.
    reversal: Literal["absolute", "relative"] = "absolute"
    identity_loss: Literal["bce_onehot", "ce"] = "bce_onehot"  # the paper's, or cross-entropy
    identity_learning_rate: float = Field(1.0, gt=0)  # of the identity head, times the peak
    identity_steps: int = Field(1, gt=0)  # of the identity head for each step of the encoder
    head_start: float = Field(0.0, ge=0, lt=1)  # share of the run before the reversal begins
    augment: bool = True


TrainingConfig = Annotated[PretrainConfig | FinetuneConfig, Field(discriminator="purpose")]
