import re
from importlib.resources import files

import pytest

from tests.consent.desk.test_style import luminance

CSS = files("core_model.serve").joinpath("static/page.css").read_text("utf-8")
COLOURS = {n: "".join(c * 2 for c in v) if len(v) == 3 else v
           for n, v in re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", CSS)}  # fmt: skip
WORDS = [("ink", "page"), ("quiet", "page"), ("quiet", "paper"), ("accent", "paper"),
         ("accent", "accent-soft"), ("paper", "bad"), ("ink", "bad-soft")]  # fmt: skip


@pytest.mark.parametrize(("ink", "ground"), WORDS)
def test_words_stand_out_from_their_ground(ink, ground) -> None:
    darker, lighter = sorted(luminance(COLOURS[c]) for c in (ink, ground))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, level AA
