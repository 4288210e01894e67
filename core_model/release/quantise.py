"""Smaller numbers for a released model: fp16 or int8 in place of fp32.

int8 is static: the range of every activation is fixed by looking at crops once, so a face costs no
extra pass and its answer does not depend on the others in the batch. Weights have seven bits: with
eight, processors without VNNI overflow in between and answer differently from others.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from core_model.release.graph import INPUT

MIN_CROPS = 32  # fewer do not show the ranges
MAX_CROPS = 256
_BATCH = 8
_QUANTISED = ("Conv", "Gemm", "MatMul")


class _Crops(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(
            np.array_split(crops, max(1, len(crops) // _BATCH))
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def to_fp16(content: bytes) -> bytes:
    """Return the model with half-precision weights; what goes in and comes out stays as it is."""
    model = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    return model.SerializeToString()


def to_int8(content: bytes, crops: NDArray[np.uint8]) -> bytes:
    """Return the model with int8 products, ranges taken from ``crops``. Shape: (N, S, S, 3).

    Raises:
        ValueError: There are too few crops.
    """
    if len(crops) < MIN_CROPS:
        raise ValueError(
            f"int8 needs at least {MIN_CROPS} crops to see the range of each activation, "
            f"got {len(crops)}"
        )
    chosen = crops[np.linspace(0, len(crops) - 1, min(len(crops), MAX_CROPS)).astype(int)]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # the quantiser tells the root logger of each node
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _static(content, chosen, Path(folder))
    finally:
        logging.root.setLevel(level)


def _static(content: bytes, crops: NDArray[np.uint8], folder: Path) -> bytes:
    raw, prepared, done = (folder / f"{n}.onnx" for n in ("raw", "prepared", "done"))
    raw.write_bytes(content)
    quant_pre_process(str(raw), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(done),
        _Crops(crops),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        op_types_to_quantize=list(_QUANTISED),
        nodes_to_quantize=_with_weights(onnx.load(str(prepared))),
    )
    return done.read_bytes()


def _with_weights(model: onnx.ModelProto) -> Sequence[str]:
    """Return the products with a weight. Those of two activations (attention) stay fp32."""
    weights = {i.name for i in model.graph.initializer}
    return [n.name for n in model.graph.node if n.op_type in _QUANTISED and weights & set(n.input)]
