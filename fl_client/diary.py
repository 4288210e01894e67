"""What the worker did: one line for each request, and a note about the one that runs.

For the operator, and for caps that count over a day. It says no more about people than their number
of rounds; even so only its owner can read it. A worker that is killed leaves the note behind: at
the next start it becomes a line that says so.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from consent import private_file
from core_model.config import Settings
from fl_client.errors import DiaryError

SIGNED = "SIGNED"
ANSWERED = "ANSWERED"  # a message of a secure sum that carries no update
INTERRUPTED = "INTERRUPTED"


class Entry(Settings):
    """One request and what became of it."""

    started_at: datetime
    run_id: str = ""  # empty: the request was no request
    round: int = 0
    purpose: str = ""
    outcome: str  # SIGNED, ANSWERED, INTERRUPTED or the name of a refusal's code
    detail: str = ""  # stays here
    seconds: float = Field(0.0, ge=0)
    num_bytes: int = Field(0, ge=0)  # received and sent


class Running(Settings):
    """The round that runs now."""

    started_at: datetime
    run_id: str
    round: int
    purpose: str
    num_bytes: int = 0  # received


class Diary:
    """``rounds.jsonl`` and ``round.open`` in the site's state."""

    def __init__(self, state: Path) -> None:
        self._lines = state / "rounds.jsonl"
        self._open = state / "round.open"

    def begin(self, running: Running) -> None:
        """Note that a round runs; seen on the disk before it does."""
        self._open.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open.unlink(missing_ok=True)
        private_file.write_new(self._open, running.model_dump_json().encode())

    def end(self, entry: Entry) -> None:
        """Append a line and see it on the disk; the note about the running round goes."""
        self._lines.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as f:
            f.write(entry.model_dump_json().encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())
        self._open.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Return the round that runs, or was running when the worker was killed.

        Raises:
            DiaryError: The note is damaged.
        """
        try:
            return Running.model_validate_json(self._open.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as e:
            raise DiaryError(f"{self._open} is damaged; delete it") from e

    def entries(self) -> list[Entry]:
        """Return all lines. One that was cut off by a power loss is passed over.

        Raises:
            DiaryError: Another line is damaged; it is named.
        """
        if not self._lines.exists():
            return []
        *whole, _ = self._lines.read_bytes().split(b"\n")
        entries = []
        for number, line in enumerate(whole, start=1):
            try:
                entries.append(Entry.model_validate_json(line))
            except ValidationError as e:
                raise DiaryError(f"{self._lines}: line {number} is damaged; delete it") from e
        return entries

    def recover(self) -> Entry | None:
        """Say of a round that a worker was killed in that it was. Only while no worker runs."""
        cut_torn_line(self._lines)
        if self._open.exists() and not self._open.read_bytes():
            self._open.unlink()  # killed while it was written: the round had not begun
        if (running := self.running()) is None:
            return None
        entry = Entry(**running.model_dump(), outcome=INTERRUPTED, detail="the worker was killed")
        self.end(entry)
        return entry


def cut_torn_line(path: Path) -> bool:
    """Cut the end of a file of lines after its last whole line; tell whether there was one."""
    if not path.exists():
        return False
    with path.open("r+b") as f:
        raw = f.read()
        whole = raw.rfind(b"\n") + 1
        if whole == len(raw):
            return False
        f.truncate(whole)
        f.flush()
        os.fsync(f.fileno())
    return True
