"""A detector as an ONNX graph: bytes of faces in, probabilities and logits out.

Pixels are standardised inside the graph, so nobody who uses the file can get that wrong.

Shapes: N = batch (any), S = side of a crop in pixels, A = action units.
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core_model.data.augment import MEAN, STD
from core_model.nn.adapters import merge
from core_model.nn.iat import IATModel

OPSET = 17  # the first with LayerNormalization
INPUT, PROBABILITIES, LOGITS = "faces", "probabilities", "logits"


class ReleaseGraph(nn.Module):
    """Encoder and AU head, with what happens to pixels before and to logits after."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: IATModel, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits. Shape: (N, S, S, 3), RGB bytes -> (N, A) twice."""
        images = (faces.float().permute(0, 3, 1, 2) - self.mean) / self.deviation
        logits = self.model.au_head(self.model.encoder(images))
        return (logits / self.temperature).sigmoid(), logits


def to_onnx(graph: ReleaseGraph, side: int) -> bytes:
    """Return the graph as an ONNX model of opset ``OPSET`` with a batch of any size."""
    graph = copy.deepcopy(graph).cpu().eval()
    merge(graph)  # adapters cost time, and whoever uses a model has no need of them
    out: Any = io.BytesIO()  # torch's types know files alone
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    names = [PROBABILITIES, LOGITS]
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter by tracing needs no further package; the graph holds no branches.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph, (example,), out, dynamo=False, opset_version=OPSET, input_names=[INPUT],
            output_names=names, dynamic_axes={name: {0: "N"} for name in [INPUT, *names]},
        )  # fmt: skip
    return out.getvalue()


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Return the model with ``metadata`` in place of what it had, and without traces of tools."""
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "omote", ""
    model.doc_string = metadata.get("purpose", "")
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


@torch.inference_mode()
def run_torch(
    graph: ReleaseGraph, faces: NDArray[np.uint8], batch_size: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return probabilities and logits by torch. Shape: (N, S, S, 3) -> (N, A) twice."""
    graph = graph.eval()
    found = [graph(batch) for batch in torch.from_numpy(faces).split(batch_size)]
    return tuple(torch.cat(parts).numpy() for parts in zip(*found, strict=True))  # type: ignore[return-value]
