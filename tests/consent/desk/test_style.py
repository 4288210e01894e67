import re
from importlib.resources import files

import pytest

CSS = files("consent.desk").joinpath("static/desk.css").read_text("utf-8")
COLOURS = {n: "".join(c * 2 for c in v) if len(v) == 3 else v
           for n, v in re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", CSS)}  # fmt: skip


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("ink", "page"),
        ("quiet", "page"),
        ("quiet", "paper"),
        ("accent", "page"),
        ("accent", "accent-soft"),
        ("paper", "accent"),
        ("good", "good-soft"),
        ("warn", "warn-soft"),
        ("bad", "bad-soft"),
        ("bad", "paper"),
    ],
)
def test_words_stand_out_from_their_ground(ink, ground) -> None:
    darker, lighter = sorted(luminance(COLOURS[c]) for c in (ink, ground))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, level AA


def test_the_style_fetches_nothing() -> None:
    assert not re.findall(r"url\(|@import|@font-face", CSS)
