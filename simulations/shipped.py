"""Settings that come with Omote, by name: scenarios, grids and plans of studies."""

from __future__ import annotations

from pathlib import Path


def find_shipped(name: str, folder: Path, kind: str) -> Path:
    """Return a settings file: one of the user's, or the shipped one of that name.

    Args:
        name: A path, or the name of one in ``folder``.
        folder: Of those that are shipped.
        kind: What it is, for the error.

    Raises:
        FileNotFoundError: There is none; names those that are shipped.
    """
    path = Path(name) if Path(name).exists() else folder / f"{name}.toml"
    if not path.exists():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise FileNotFoundError(f"no {kind} {name}; shipped are: {names}")
    return path
