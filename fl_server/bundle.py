"""The app bundle (FAB) that Flower ships to every site: it names the two apps and carries no code.

Both ends run the installed package. The bundle follows from this text alone, so everyone who has
this version can make it and compare its digest with the one that a site has pinned.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version

from flwr.cli.build import build_fab_from_files

_PROJECT = """\
[project]
name = "omote"
version = "{version}"
description = "Names the apps of Omote. Carries no code."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "omote"
fab-include = ["/README.md"]

[tool.flwr.app.components]
serverapp = "fl_server.app:app"
clientapp = "fl_client.app:app"

[tool.flwr.app.config]
federation = ""
"""
_README = (
    "This bundle names the apps of Omote. It carries no code: both ends run what they installed.\n"
)


@dataclass(frozen=True)
class Bundle:
    """The bytes, and the SHA-256 (hex) that sites pin."""

    content: bytes
    digest: str


def make_bundle() -> Bundle:
    """Return the bundle of this version."""
    project = _PROJECT.format(version=version("omote"))
    files = {"pyproject.toml": project.encode(), "README.md": _README.encode()}
    content, _ = build_fab_from_files(files)
    return Bundle(content, hashlib.sha256(content).hexdigest())
