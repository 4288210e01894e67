"""May an app bundle from the server run here? Only the pinned one, and never one with code.

Flower ships a bundle (FAB, a zip file) to every site and runs what it names. Ours names the app
that is installed here, and carries nothing but its pyproject.toml and README.md.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from dataclasses import dataclass
from typing import Any

from fl_client.errors import NodeError

CLIENT_APP = "fl_client.app:app"
FILES = {"pyproject.toml", "README.md", ".info/CONTENT"}
MAX_UNPACKED = 10 << 20


@dataclass(frozen=True)
class App:
    """What the server says of the app of a run."""

    fab_id: str
    version: str
    sha256: str


def check_bundle(content: bytes, pinned: str, told: App) -> None:
    """Check a bundle before anything in it is used.

    Args:
        content: Of the bundle.
        pinned: SHA-256 (hex) of the one that the operator agreed to.
        told: What the server says of it; Flower makes paths of that.

    Raises:
        NodeError: It is another one, it carries code, or it names another app than ours.
    """
    # (1) The one that was agreed to. Until here nothing of it was parsed.
    if (got := hashlib.sha256(content).hexdigest()) != pinned:
        raise NodeError(f"expected the pinned bundle {pinned}, got {got}")
    # (2) No code: the operator may have been talked into pinning some.
    project = _read_project(content)
    # (3) It names the app that is installed here, and the server names this bundle.
    app = project.get("tool", {}).get("flwr", {}).get("app", {})
    if (named := app.get("components", {}).get("clientapp")) != CLIENT_APP:
        raise NodeError(f"expected the bundle to name {CLIENT_APP}, got {named!r}")
    own = project.get("project", {})
    fab_id = f"{app.get('publisher')}/{own.get('name')}"
    if told != App(fab_id, str(own.get("version")), pinned):
        raise NodeError("the server says of this bundle what is not in it")


def _read_project(content: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as f:
            names = f.namelist()
            if extra := sorted(set(names) - FILES):
                raise NodeError(f"a bundle carries no code: expected {sorted(FILES)}, got {extra}")
            if len(names) != len(set(names)) or _unpacked(f) > MAX_UNPACKED:
                raise NodeError("a file stands twice in the bundle, or they are too large")
            return tomllib.loads(f.read("pyproject.toml").decode())
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise NodeError("the bundle is not one: no zip file with a pyproject.toml") from e


def _unpacked(file: zipfile.ZipFile) -> int:
    return sum(info.file_size for info in file.infolist())
