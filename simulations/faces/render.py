"""Draw one frame: a person with given activations, pose and gaze in a scene.

The cut-out is what a face detector with eye alignment gives: the eyes lie on one line at a fixed
height and the chin is just inside. Drawn at twice the size and averaged.

Shapes: S = side of the drawing in pixels, P = pixels covered by the head, V = vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces import canvas
from simulations.faces.facs import action_weights
from simulations.faces.head import (
    LASHES,
    LEFT_EYE,
    LOWER_TEETH,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Head,
)
from simulations.faces.person import Person
from simulations.faces.rasterizer import rasterize
from simulations.faces.scene import Scene
from simulations.faces.texture import skin_texture
from simulations.faces.wrinkles import wrinkle_maps

Floats = NDArray[np.floating]
SUPERSAMPLING = 2
EYE_DISTANCE = 0.34  # share of the side
EYE_HEIGHT = 0.38  # share of the side, from above
TURNING_POINT = np.array([0.0, -0.6, -1.3])  # of the head on the neck, in distances of the eyes


@dataclass(frozen=True)
class Actor:
    """A person ready to be drawn: what is computed once for all frames."""

    head: Head
    person: Person
    texture: Floats = field(init=False)
    hair: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texture", skin_texture(self.person).astype(np.float32))
        object.__setattr__(self, "hair", hair_cover(self.head, self.person).astype(np.float32))


def hair_cover(head: Head, person: Person) -> Floats:
    """Return how much hair of the head grows on each vertex. Shape: (V,)."""
    x, y, z = head.vertices.T
    wave = 0.04 * np.sin(7 * x + 3 * person.au_bias[0]) + 0.03 * np.sin(13 * x)
    line = 7.28 + person.hairline + wave - person.fringe * np.exp(-((x / 0.7) ** 2))
    cover = _smooth(line - 0.06, line + 0.06, y + 1.3 * np.maximum(0, 0.62 - z))
    lowest = 5.9 if person.has_long_hair else 6.75
    cover = cover * (y > lowest) * (head.vertex_part == SKIN)
    ear = (np.abs(x) > 0.68) & (y > 6.75) & (y < 7.5) & (z > 0.05) & (z < 0.75)
    return cover * (~ear if not person.has_long_hair else 1) * (not person.is_bald)


def draw(
    actor: Actor, scene: Scene, activations: Floats, pose: Floats, gaze: Floats, blink: float,
    size: int, chance: np.random.Generator,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return a frame. Shapes: activations (17,), pose (3,), gaze (2,) -> (size, size, 3) RGB."""
    side = size * SUPERSAMPLING
    vertices = _moved(actor, action_weights(activations, actor.person.asymmetry, blink))
    normals = actor.head.normals(vertices)
    turn = _rotation(pose[0], pose[1] + scene.camera_pitch, pose[2])
    posed = (vertices - TURNING_POINT) @ turn.T + TURNING_POINT
    points, depth = _project(posed, actor.head, scene, side)
    seen, weights = rasterize(points, depth, actor.head.triangles, side)
    inside = seen >= 0
    picture = scene.background.astype(np.float32).copy()
    picture[inside] = _shade(
        actor, scene, seen[inside], weights[inside], normals @ turn.T, activations, gaze
    )
    if actor.person.has_glasses:
        _glasses(picture, points, actor.head, side)
    return _develop(picture, scene, size, chance)


def _moved(actor: Actor, actions: dict[str, float]) -> Floats:
    """Return the vertices of the face in motion, with the hair on. Shape: (V, 3)."""
    vertices = actor.person.vertices.copy()
    for action, weight in actions.items():
        vertices += actor.person.scale * weight * actor.head.shapes[f"action:{action}"]
    if actor.person.is_bald:
        return vertices
    volume = actor.person.hair_volume * actor.person.scale
    return vertices + actor.head.normals(vertices) * (actor.hair * volume)[:, None]


def _project(posed: Floats, head: Head, scene: Scene, side: int) -> tuple[Floats, Floats]:
    """Return pixel coordinates and depth, the eyes in their place. Shapes: (V, 2), (V,)."""
    depth = scene.camera_distance - posed[:, 2]
    flat = posed[:, :2] * scene.camera_distance / depth[:, None]
    eyes = np.stack([flat[head.vertex_part == eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)])
    zoom = EYE_DISTANCE * side * scene.crop_zoom
    centre = (np.array([0.5, EYE_HEIGHT]) + scene.crop_shift) * side
    points = (flat - eyes.mean(0)) * np.array([1, -1]) * zoom + centre
    return points.astype(np.float32), depth.astype(np.float32)


def _shade(
    actor: Actor, scene: Scene, seen: NDArray[np.int32], weights: Floats, normals: Floats,
    activations: Floats, gaze: Floats,
) -> Floats:  # fmt: skip
    """Return the colour of each covered pixel. Shape: (P, 3)."""
    head, person = actor.head, actor.person
    corners = head.triangles[seen]  # (P, 3)
    fields = np.concatenate(
        [head.vertices, normals, actor.hair[:, None], head.lips[:, None], head.mouth[:, None],
         head.openness[:, None]], axis=1,
    ).astype(np.float32)  # fmt: skip
    spot = np.einsum("pcf,pc->pf", fields[corners], weights)  # (P, 10)
    place, normal = spot[:, :3], spot[:, 3:6]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    hair, lips, mouth, openness = spot[:, 6:7], spot[:, 7:8], spot[:, 8:9], spot[:, 9]
    part = head.part[seen]
    colour = _skin_colour(actor, place, activations)
    lip_cover = np.clip(1.5 * lips, 0, 1) * person.lip_colour
    colour = colour * (1 - lip_cover) + person.lips * lip_cover
    inner = np.clip(2 * mouth, 0, 1) * (lip_cover < 0.2)
    colour = colour * (1 - inner) + np.array([0.25, 0.07, 0.07]) * inner
    strands = 0.85 + 0.18 * np.sin(60 * place[:, :1] + 2 * np.cos(9 * place[:, 1:2]))
    colour = colour * (1 - hair) + person.hair * strands * hair
    colour[(place[:, 1] < 6.0) & (part == SKIN)] = person.shirt
    _paint_parts(colour, part, place, head, person, gaze)
    return _light(colour, normal, openness, part, hair[:, 0], lip_cover[:, 0], scene)


def _skin_colour(actor: Actor, place: Floats, activations: Floats) -> Floats:
    """Return skin, brows and beard with expression lines. Shape: (P, 3)."""
    columns, rows = canvas.to_pixels(place)
    # OpenCV samples pictures, so the list of pixels is handed over as a picture one pixel wide.
    at = (columns.astype(np.float32)[:, None], rows.astype(np.float32)[:, None])
    frontal = _sample(actor.texture, at)
    away = _smooth(0.5, 0.2, place[:, 2])[:, None]
    colour = frontal * (1 - away) + actor.person.skin * away
    lines = np.tensordot(activations, wrinkle_maps(), 1).astype(np.float32)
    folds = _sample(lines, at)[:, 0] * actor.person.wrinkling * (place[:, 2] > 0.6)
    return colour * (1 - np.clip(0.42 * folds, 0, 0.5)[:, None])


def _sample(picture: Floats, at: tuple[Floats, Floats]) -> Floats:
    """Return bilinear samples. Shape: (P, channels)."""
    limit = 32_000  # OpenCV's largest picture side
    parts = [
        cv2.remap(
            picture.astype(np.float32),
            at[0][k : k + limit].astype(np.float32),
            at[1][k : k + limit].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(len(at[0][k : k + limit]), -1)
        for k in range(0, len(at[0]), limit)
    ]
    return np.concatenate(parts)


def _paint_parts(
    colour: Floats, part: NDArray[np.int8], place: Floats, head: Head, person: Person, gaze: Floats
) -> None:
    """Paint teeth, tongue, lashes and eyes over ``colour``, in place."""
    colour[(part == UPPER_TEETH) | (part == LOWER_TEETH)] = (0.86, 0.83, 0.76)
    colour[part == TONGUE] = (0.6, 0.25, 0.25)
    colour[part >= LASHES] = person.hair * 0.35
    look = np.array([gaze[0], gaze[1], 1.0])
    look /= np.linalg.norm(look)
    for eye, centre in zip((LEFT_EYE, RIGHT_EYE), head.eye_centres, strict=True):
        mine = part == eye
        if mine.any():
            ray = place[mine] - centre
            ray /= np.linalg.norm(ray, axis=1, keepdims=True)
            angle = np.arccos(np.clip(ray @ look, -1, 1))[:, None]
            iris = person.iris * (0.75 + angle)
            white = np.array([0.9, 0.88, 0.86]) * (1 - 0.25 * np.clip(angle - 0.5, 0, 1))
            colour[mine] = np.where(angle < 0.2, 0.03, np.where(angle < 0.47, iris, white))


def _light(
    colour: Floats, normal: Floats, openness: Floats, part: NDArray[np.int8], hair: Floats,
    lips: Floats, scene: Scene,
) -> Floats:  # fmt: skip
    """Light the pixels: sky, one soft lamp, a little gloss. Shape: (P, 3)."""
    diffuse = np.clip((normal @ scene.light + 0.15) / 1.15, 0, 1)
    sky = 0.7 + 0.3 * (0.5 + 0.5 * normal[:, 1])
    is_eye = (part == LEFT_EYE) | (part == RIGHT_EYE)
    open_ = np.where(is_eye, 0.85, openness)
    light = (scene.ambient * sky + scene.key * diffuse) * open_
    half = scene.light + np.array([0, 0, 1])
    half /= np.linalg.norm(half)
    gloss = np.where(part == SKIN, 0.08 + 0.12 * (lips > 0.2), 0.25) * (hair < 0.3)
    shine = np.clip(normal @ half, 0, 1) ** 18 * scene.key * gloss
    return colour * light[:, None] * scene.tint + shine[:, None]


def _glasses(picture: Floats, points: Floats, head: Head, side: int) -> None:
    """Draw round frames about the eyes, in place."""
    eyes = [points[head.vertex_part == eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
    axes = (int(0.15 * side), int(0.115 * side))
    width = max(1, side // 64)
    dark = (0.1, 0.09, 0.09)
    for x, y in eyes:
        cv2.ellipse(picture, (int(x), int(y)), axes, 0, 0, 360, dark, width, cv2.LINE_AA)
    (x0, y0), (x1, y1) = sorted(map(tuple, eyes))
    bridge = (int(x0) + axes[0], int(y0)), (int(x1) - axes[0], int(y1))
    cv2.line(picture, *bridge, dark, width, cv2.LINE_AA)


def _develop(
    picture: Floats, scene: Scene, size: int, chance: np.random.Generator
) -> NDArray[np.uint8]:
    """Put things in front, shrink, blur, add noise and the camera's gamma. (size, size, 3)."""
    if scene.occluder is not None:
        cover = scene.occluder[..., 3:]
        picture = picture * (1 - cover) + scene.occluder[..., :3] * cover
    small = cv2.resize(picture.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    if scene.blur:
        small = cv2.GaussianBlur(small, (0, 0), scene.blur)
    noisy = small * scene.exposure + chance.normal(0, scene.noise, small.shape)
    return (np.clip(noisy, 0, 1) ** (1 / 1.15) * 255).round().astype(np.uint8)


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """Return the matrix that turns the head: yaw, then pitch, then roll (radians). (3, 3)."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _smooth(start: Floats | float, end: Floats | float, value: Floats) -> Floats:
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)
