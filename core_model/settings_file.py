"""Read a TOML file into frozen settings; what is wrong is said with file and field."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Kind = TypeVar("Kind", bound=BaseModel)


class SettingsError(ValueError):
    """A settings file is missing or not right. Says which file and field, and what was expected."""


def load_settings(path: Path, kind: type[Kind]) -> Kind:
    """Return the settings of a TOML file.

    Raises:
        SettingsError: The file cannot be read, is not TOML, or a field is not right.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise SettingsError(f"{path}: cannot be read ({e.strerror})") from e
    except tomllib.TOMLDecodeError as e:
        raise SettingsError(f"{path}: not TOML: {e}") from e
    except ValidationError as e:
        raise SettingsError(explain(path, e)) from e


def explain(path: Path, error: ValidationError) -> str:
    """Say what is wrong with a settings file: a line for each field."""
    return "\n".join(
        f"{path}: {'.'.join(map(str, p['loc'])) or 'file'}: {p['msg']}" for p in error.errors()
    )
