"""A person: the shape of the head, skin, hair, and how this person tends to move the face.

Person ``k`` of a seed is the same everywhere and in every recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from simulations.faces.head import Head

Floats = NDArray[np.floating]

_OPPOSITES = (("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"),
              ("convex", "concave"))  # fmt: skip
_HAIR = ((0.09, 0.07, 0.06), (0.19, 0.13, 0.09), (0.36, 0.24, 0.15), (0.66, 0.5, 0.31),
         (0.47, 0.2, 0.12), (0.59, 0.58, 0.57))  # fmt: skip  # black to blond, red, grey
_IRIS = ((0.27, 0.18, 0.11), (0.37, 0.27, 0.16), (0.27, 0.37, 0.24), (0.31, 0.45, 0.59))


@dataclass(frozen=True)
class Person:
    """Everything about one person that does not change between recordings. Colours are RGB 0-1."""

    vertices: Floats  # at rest; unit: distance of the eyes; origin: between the eyes. (V, 3)
    scale: float  # of the head's decimetres to that unit
    age: float  # 0 young, 1 old
    femininity: float
    skin: Floats
    hair: Floats
    iris: Floats
    lips: Floats
    lip_colour: float  # how much the lips differ from the skin, 0-1
    hairline: float  # height above the eyes, decimetres
    hair_volume: float  # decimetres
    fringe: float  # how far hair hangs into the forehead, decimetres
    is_bald: bool
    has_long_hair: bool
    beard: float  # 0 none, 1 full
    brow: tuple[float, float, float, float]  # thickness, darkness, arch, tilt
    num_marks: int
    freckles: float
    wrinkling: float  # strength of expression lines
    has_glasses: bool
    shirt: Floats
    asymmetry: float  # left over right in every movement
    au_bias: Floats  # added to the logit of each AU's rate, before the shortcut strength. (17,)
    au_habits: Floats  # what this person shows together: loadings on three moods. (17, 3)
    texture_seed: int


def make_person(head: Head, seed: int, number: int) -> Person:
    """Return person ``number``. Equal arguments give an equal person."""
    chance = np.random.default_rng([seed, number, 1])
    femininity = float(np.clip(chance.choice([0.08, 0.92]) + chance.normal(0, 0.06), 0, 1))
    origin = chance.dirichlet([0.35] * 3)  # African, Asian, Caucasian targets of MakeHuman
    age = float(chance.uniform())
    shape = head.vertices + _phenotype(head, chance, femininity, origin, age)
    shape = shape + _local_changes(head, chance)
    eyes = np.stack([shape[head.vertex_part == eye].mean(0) for eye in (1, 2)])
    scale = 1 / float(np.linalg.norm(eyes[0] - eyes[1]))
    melanin = float(np.clip(origin @ [0.85, 0.38, 0.22] + chance.normal(0, 0.1), 0.05, 1))
    skin = _skin(chance, melanin)
    hair = _hair_colour(chance, melanin, age)
    male = 1 - femininity
    painted = chance.random() < 0.4 * femininity
    natural = skin * np.array([0.92, 0.68, 0.67]) * (1 - 0.12 * chance.random())
    iris_odds = [0.8, 0.2, 0, 0] if melanin > 0.4 else [0.35, 0.2, 0.18, 0.27]
    return Person(
        vertices=((shape - eyes.mean(0)) * scale).astype(np.float32),
        scale=scale,
        age=age,
        femininity=femininity,
        skin=skin,
        hair=hair,
        iris=np.array(_IRIS[chance.choice(4, p=iris_odds)], np.float32),
        lips=np.array([0.6, 0.2, 0.24]) * chance.uniform(0.8, 1.15) if painted else natural,
        lip_colour=float(chance.uniform(0.5, 0.95)),
        hairline=float(chance.uniform(0.62, 0.8) + 0.1 * male * age),
        hair_volume=float(chance.uniform(0.05, 0.16)),
        fringe=float(max(0.0, chance.uniform(-0.35, 0.3))),
        is_bald=bool(chance.random() < (0.03 + 0.15 * age) * male),
        has_long_hair=bool(chance.random() < 0.1 + 0.7 * femininity),
        beard=float(chance.uniform(0.25, 0.85)) if chance.random() < 0.35 * male else 0.0,
        brow=(
            float(chance.uniform(0.03, 0.06) * (1 + 0.35 * male)),
            float(chance.uniform(0.35, 0.75)),
            float(chance.uniform(0.015, 0.06)),
            float(chance.normal(0, 0.06)),
        ),
        num_marks=int(chance.integers(0, 4)),
        freckles=float(max(0.0, chance.uniform(-0.06, 0.05))),
        wrinkling=float((0.35 + 0.65 * age) * chance.uniform(0.7, 1.2)),
        has_glasses=bool(chance.random() < 0.15),
        shirt=chance.uniform(0.05, 0.9, 3).astype(np.float32),
        asymmetry=float(chance.normal(0, 0.1)),
        au_bias=chance.normal(0, 1, len(UNION)).astype(np.float32),
        au_habits=chance.normal(0, 1, (len(UNION), 3)).astype(np.float32),
        texture_seed=int(chance.integers(2**31)),
    )


def _phenotype(
    head: Head, chance: np.random.Generator, femininity: float, origin: Floats, age: float
) -> Floats:
    """Blend MakeHuman's targets of sex, age, origin and weight. Shape: (V, 3)."""
    weight = float(np.clip(chance.normal(0, 0.45), -1, 1))
    builds = {
        "minweight": max(-weight, 0),
        "averageweight": 1 - abs(weight),
        "maxweight": max(weight, 0),
    }
    moved = np.zeros_like(head.vertices)
    for sex, share in (("female", femininity), ("male", 1 - femininity)):
        for era, years in (("young", 1 - age), ("old", age)):
            for place, part in zip(("african", "asian", "caucasian"), origin, strict=True):
                moved += share * years * part * head.shapes[f"macro:{place}-{sex}-{era}"]
            for build, amount in builds.items():
                name = f"macro:universal-{sex}-{era}-averagemuscle-{build}"
                moved += share * years * amount * head.shapes[name]
    return moved


def _local_changes(head: Head, chance: np.random.Generator) -> Floats:
    """Change nose, chin, cheeks and the rest a little, nearly the same on both sides. (V, 3)."""
    moved = np.zeros_like(head.vertices)
    for plus, minus in local_pairs(head.shapes):
        broad = plus.startswith(("local:head", "local:forehead"))
        amount = float(np.clip(chance.normal(0, 0.16 if broad else 0.26), -0.7, 0.7))
        name = plus if amount > 0 else minus
        size = abs(amount) * (0.6 if "ear" in name else 1.0)
        moved += size * head.shapes[name]
        if name.startswith("local:l-"):
            other = size * (1 + float(np.clip(chance.normal(0, 0.12), -0.4, 0.4)))
            moved += other * head.shapes[name.replace("local:l-", "local:r-")]
    return moved


def local_pairs(shapes: Mapping[str, Floats]) -> list[tuple[str, str]]:
    """Return the names of opposite local changes; of paired features the left side only."""
    pairs = []
    for name in sorted(shapes):
        if not name.startswith("local:") or name.startswith(("local:r-", "local:head-trans")):
            continue
        for plus, minus in _OPPOSITES:
            opposite = name.removesuffix(plus) + minus
            if name.endswith(f"-{plus}") and opposite in shapes and "compress" not in name:
                pairs.append((name, opposite))
    return pairs


def _skin(chance: np.random.Generator, melanin: float) -> Floats:
    light, dark = np.array([236, 196, 172]) / 255, np.array([74, 46, 34]) / 255
    colour = light * (1 - melanin) + dark * melanin + chance.normal(0, 0.012, 3)
    return np.clip(colour, 0.08, 0.98).astype(np.float32)


def _hair_colour(chance: np.random.Generator, melanin: float, age: float) -> Floats:
    odds = np.array([0.35, 0.27, 0.17, 0.1, 0.05, 0.06])
    if melanin > 0.45:
        odds = np.array([0.75, 0.2, 0.02, 0, 0, 0.03])
    if age > 0.6:
        odds = odds * 0.5 + np.array([0, 0, 0, 0, 0, 0.5])
    colour = np.array(_HAIR[chance.choice(6, p=odds / odds.sum())])
    return (colour * chance.uniform(0.8, 1.15)).astype(np.float32)
