"""Run an ONNX model of ours. Needs onnxruntime and numpy alone.

Shapes: N = faces, S = side of a crop in pixels, A = action units.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

Floats = NDArray[np.float32]
_FAILURES = (
    state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
    state.NotImplemented, state.RuntimeException, RuntimeError,
    UnicodeDecodeError,  # its message names a damaged part by bytes that are no text
)  # fmt: skip
_INPUT, _OUTPUTS = "faces", ["probabilities", "logits"]


class RuntimeRefusedError(Exception):
    """The runtime cannot load or run a model."""


class Runtime:
    """A loaded model.

    Args:
        content: The bytes of the ONNX file.
        threads: Processor cores to use.

    Raises:
        RuntimeRefusedError: It is not a model that takes faces and gives probabilities and logits.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as errors; nothing is written to the screen
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])
            inputs = [(i.name, i.type) for i in self._session.get_inputs()]
            outputs = [o.name for o in self._session.get_outputs()]
        except _FAILURES as e:
            raise RuntimeRefusedError(f"not a model that can run: {_short(e)}") from e
        if inputs != [(_INPUT, "tensor(uint8)")] or outputs != _OUTPUTS:
            raise RuntimeRefusedError(
                f"expected bytes of {_INPUT!r} in and {_OUTPUTS} out, got {inputs} and {outputs}"
            )

    def run(self, faces: NDArray[np.uint8], batch_size: int = 32) -> tuple[Floats, Floats]:
        """Return probabilities and logits. Shape: (N, S, S, 3), RGB bytes -> (N, A) twice.

        Raises:
            RuntimeRefusedError: The faces do not fit the model.
        """
        if len(faces) <= batch_size:
            return self._run(faces)
        batches = range(0, len(faces), batch_size)
        found = [self._run(faces[k : k + batch_size]) for k in batches]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    def _run(self, faces: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        try:
            probabilities, logits = self._session.run(_OUTPUTS, {_INPUT: faces})
        except _FAILURES as e:
            raise RuntimeRefusedError(f"the model cannot run on these faces: {_short(e)}") from e
        return probabilities, logits


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
