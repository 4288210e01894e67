"""Run a trained model over a dataset."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from core_model.data.augment import standardise
from core_model.data.frames import FrameDataset
from core_model.evaluation.metrics import Predictions
from core_model.nn.iat import IATModel


@torch.inference_mode()
def predict(
    model: IATModel, dataset: FrameDataset, *, device: torch.device, batch_size: int = 256
) -> tuple[Predictions, NDArray[np.float32]]:
    """Return predictions for every frame and the pooled features. Shape of features: (N, D)."""
    model.to(device).eval()
    features, logits = [], []
    for batch in dataset.in_order(batch_size):
        pooled = model.encoder(standardise(batch.images.to(device)))
        features.append(pooled.cpu())
        logits.append(model.au_head(pooled).cpu())
    predictions = Predictions(
        model.action_units,
        torch.cat(logits).sigmoid().numpy(),
        dataset.aus.numpy(),
        dataset.known.numpy(),
        dataset.identities.numpy(),
    )
    return predictions, torch.cat(features).numpy()
