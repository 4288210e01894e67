"""Write a federation's settings as the TOML file that they are read from."""

from __future__ import annotations

import json

from pydantic import BaseModel


def to_toml(config: BaseModel) -> str:
    """Return the text of a settings file; lists of settings become tables."""
    plain, tables = [], []
    for key, value in json.loads(config.model_dump_json(exclude_none=True)).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                tables.append(f"\n[[{key}]]")
                tables += [f"{k} = {_value(v)}" for k, v in row.items()]
        else:
            plain.append(f"{key} = {_value(value)}")
    return "\n".join([*plain, *tables]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)
