"""Run the commands of a page of the docs and put what they print back under them.

python -m tests.integration.story consent, site, ingest, training or use writes the page anew. A
page is one story: its commands run one after another in one shell, and more sections may be added.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "consent.md"
SITE_PAGE = DOCS / "site.md"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_MARK = "=-=-= "


def commands(text: str) -> list[str]:
    """Return the commands of the page, in order."""
    return [
        line[2:] for block in _BLOCK.findall(text) for line in block.splitlines()
        if line.startswith("$ ")
    ]  # fmt: skip


def outputs(text: str) -> list[str]:
    """Return what the page says that each command prints."""
    found: list[str] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append("")
            else:
                found[-1] += line
    return found


def run(lines: list[str], folder: Path) -> list[str]:
    """Run commands in one shell; return what each prints, both streams together.

    Raises:
        AssertionError: A command failed.
    """
    steps = "".join(f"echo '{_MARK}'\n{line}\n" for line in lines)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-e", "-c", f"exec 2>&1\n{steps}"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    parts = done.stdout.split(f"{_MARK}\n")[1:]
    assert done.returncode == 0, f"{lines[len(parts) - 1]}\n{parts[-1]}"
    return [part.replace(str(folder.resolve()), "/srv") for part in parts]


def shape(output: str) -> str:
    """Return an output without what differs from run to run: keys, digests, times, machines."""
    output = re.sub(r"\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}", "+KEY", output)
    output = re.sub(r"ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+", "NODE-KEY", output)
    output = re.sub(r"\b[0-9a-f]{16,64}\b", "HEX", output)
    output = re.sub(r"\blocal-[a-z]+-[0-9a-f]{12}\b", "RUN", output)
    output = re.sub(r"device .*, [0-9.]+ GiB free", "DEVICE", output)
    output = re.sub(r"[0-9.]+ GiB", "N GiB", output)
    output = re.sub(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?", "DATE", output)
    output = re.sub(r" +[0-9.]+ (s|minutes)\b", r" N \1", output)
    return re.sub(r" +[0-9,]+ bytes", " N bytes", output)


def filled(text: str, printed: Iterator[str]) -> str:
    """Return the page with new outputs."""

    def block(match: re.Match[str]) -> str:
        lines = [ln for ln in match[1].splitlines(keepends=True) if ln.startswith("$ ")]
        return "```console\n" + "".join(line + next(printed) for line in lines) + "```"

    return _BLOCK.sub(block, text)


if __name__ == "__main__":
    path = DOCS / f"{sys.argv[1]}.md"
    page = path.read_text()
    with tempfile.TemporaryDirectory() as place:
        path.write_text(filled(page, iter(run(commands(page), Path(place)))))
