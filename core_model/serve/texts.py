"""The page's words in each language. A text that one language lacks is an error at start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources

from core_model.action_units import NAMES

LANGUAGES = {"en": "English", "ja": "日本語"}
DEFAULT = "en"


def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Read the texts of all languages; AU 12 is called ``au12``.

    Raises:
        ValueError: The languages do not have the same texts.
    """
    folder = resources.files("core_model.serve") / "texts"
    texts = {
        code: tomllib.loads((folder / f"{code}.toml").read_text(encoding="utf-8"))
        for code in LANGUAGES
    }
    texts[DEFAULT] |= {f"au{au}": name for au, name in NAMES.items()}
    for code, found in texts.items():
        if odd := found.keys() ^ texts[DEFAULT].keys():
            raise ValueError(f"texts/{code}.toml and texts/{DEFAULT}.toml differ in {sorted(odd)}")
    return texts


def preferred(accept_language: str) -> str:
    """Choose a language from an Accept-Language header; its order counts, its weights do not."""
    for part in accept_language.split(","):
        code = part.split(";")[0].strip().lower()[:2]
        if code in LANGUAGES:
            return code
    return DEFAULT
