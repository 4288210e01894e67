"""The desk's words in each language. A text that one language lacks is an error at start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from importlib import resources

LANGUAGES = {"en": "English", "ja": "日本語"}
DEFAULT = "en"
_SHAPES = {"en": "%-d %B %Y", "ja": "%Y年%-m月%-d日"}


def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Read the texts of all languages.

    Raises:
        ValueError: The languages do not have the same texts.
    """
    folder = resources.files("consent.desk") / "texts"
    texts = {
        code: tomllib.loads((folder / f"{code}.toml").read_text(encoding="utf-8"))
        for code in LANGUAGES
    }
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


def day_text(moment: datetime, language: str) -> str:
    """Write a day as the language does."""
    return moment.strftime(_SHAPES[language])


def time_text(moment: datetime, language: str) -> str:
    """Write a day and a time of day."""
    return f"{day_text(moment, language)} {moment:%H:%M}"
