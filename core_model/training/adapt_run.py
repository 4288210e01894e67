"""Adapt a checkpoint to the recordings of a site, and write what came of it. Labels stay unread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from core_model.adaptation import Adaptation, AdaptationConfig
from core_model.checkpoint import CheckpointManifest, load_checkpoint, save_checkpoint
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording
from core_model.evaluation.model_run import load_detector
from core_model.nn.weights import get_arrays, schema_of
from core_model.protocol.messages import digest
from core_model.training.adapt import adapt
from core_model.training.seeds import derive_seed


def run_adaptation(
    checkpoint: Path,
    recordings: Sequence[Recording],
    out: Path,
    config: AdaptationConfig,
    *,
    threshold: float,
    may_leave_site: bool = False,
    seed: int = 0,
    device: torch.device,
    tell: Callable[[str], None] = lambda _: None,
) -> CheckpointManifest:
    """Write the adapted detector; its manifest says what was done.

    Args:
        checkpoint: The detector as it came.
        recordings: Of the site. Their labels, if they have any, are not read.
        out: File to write.
        config: How.
        threshold: From which probability an AU counts as found; comes with the detector.
        may_leave_site: Did the people agree to that?
        seed: Of all chance.
        device: Where to train.
        tell: Called with a line after each epoch.

    Raises:
        CheckpointError: The checkpoint cannot be read, or was adapted before.
        ValueError: It has no AU head, or there are no frames.
    """
    parent = load_checkpoint(checkpoint)[1]
    model, _ = load_detector(checkpoint)
    unlabelled = [r.model_copy(update={"labels": None}) for r in recordings]
    dataset = FrameDataset(unlabelled, parent.encoder.image_size)
    losses = adapt(
        model, dataset, config, threshold=threshold, device=device,
        seed=derive_seed(seed, "adaptation"),
    )  # fmt: skip
    for epoch, loss in enumerate(losses, start=1):
        tell(f"epoch {epoch} of {len(losses)}: loss on its own confident answers {loss:.4f}")
    schema = schema_of(model).without_identity_heads()
    arrays = get_arrays(model, schema)
    manifest = parent.model_copy(
        update={
            "digest": digest(arrays),
            "weights": schema,
            "parent": parent.digest,
            "adaptation": Adaptation(
                config=config,
                seed=seed,
                threshold=threshold,
                num_subjects=len(dataset.subjects),
                num_frames=len(dataset),
                may_leave_site=may_leave_site,
            ),
        }
    )
    save_checkpoint(out, arrays, manifest)
    return manifest
