"""The Action Units of the Facial Action Coding System that Omote knows, and who labels which.

An Action Unit (AU) is one facial muscle movement (Ekman and Friesen, 1978). Sites label different
sets; the model has one output row for each AU of ``UNION``, always in this order.
"""

from __future__ import annotations

from collections.abc import Iterable

NAMES: dict[int, str] = {
    1: "Inner brow raiser",
    2: "Outer brow raiser",
    4: "Brow lowerer",
    5: "Upper lid raiser",
    6: "Cheek raiser",
    7: "Lid tightener",
    9: "Nose wrinkler",
    10: "Upper lip raiser",
    12: "Lip corner puller",
    14: "Dimpler",
    15: "Lip corner depressor",
    17: "Chin raiser",
    20: "Lip stretcher",
    23: "Lip tightener",
    24: "Lip pressor",
    25: "Lips part",
    26: "Jaw drop",
}

UNION: tuple[int, ...] = tuple(NAMES)
"""All known AUs: BP4D united with DISFA's twelve. 17 of them."""

BP4D: tuple[int, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""BP4D and BP4D+ (occurrence, as used in the literature)."""

DISFA_8: tuple[int, ...] = (1, 2, 4, 6, 9, 12, 25, 26)
DISFA_12: tuple[int, ...] = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)

SETS: dict[str, tuple[int, ...]] = {
    "bp4d": BP4D, "bp4d_plus": BP4D, "disfa": DISFA_8, "disfa_12": DISFA_12, "union": UNION,
}  # fmt: skip
"""Sets by name, for options and recipes."""


def parse_aus(text: str) -> tuple[int, ...]:
    """Return the AUs of a set's name, or of a list such as ``1,2,4``.

    Raises:
        ValueError: It is neither, or an AU is unknown.
    """
    if text in SETS:
        return SETS[text]
    numbers = text.split(",")
    if not all(n.strip().isdigit() for n in numbers):
        raise ValueError(f"expected a list as 1,2,4 or one of {', '.join(SETS)}; got {text!r}")
    return check_aus(int(n) for n in numbers)


def check_aus(aus: Iterable[int]) -> tuple[int, ...]:
    """Return ``aus`` in the order of ``UNION``.

    Raises:
        ValueError: An AU is unknown or named twice, or there is none.
    """
    given = tuple(aus)
    if unknown := sorted(set(given) - set(UNION)):
        raise ValueError(f"unknown action units {unknown}; known are {list(UNION)}")
    if not given or len(set(given)) != len(given):
        raise ValueError(f"expected distinct action units, got {list(given)}")
    return tuple(au for au in UNION if au in given)
