"""What a site does at once when someone takes consent back: a program of its own, such as a purge.

The program is ``hooks/after-withdrawal`` in the consent folder. It gets no arguments: it looks up
for itself who may no longer be used. ``omote-site purge --install`` puts one there.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from consent.errors import HookError

TIMEOUT_S = 300.0


def hook_file(folder: Path) -> Path:
    """Return where the program of a consent folder lies."""
    return folder / "hooks" / "after-withdrawal"


def install_hook(folder: Path, script: str) -> Path:
    """Write the program, readable and writable by its owner alone; return its file."""
    path = hook_file(folder)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(script)
    path.chmod(0o700)
    return path


def after_withdrawal(folder: Path) -> str | None:
    """Run the program; return what it printed, or None if there is none.

    Raises:
        HookError: Others can write to it, or it failed. The withdrawal itself stands.
    """
    path = hook_file(folder)
    if not path.exists():
        return None
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid != os.getuid():
        raise HookError(f"{path} is not run: others can write to it; run: chmod 700 {path}")
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own program
            [path], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as e:
        raise HookError(f"{path} failed; what it deletes may still be there: run it again") from e
    return done.stdout
