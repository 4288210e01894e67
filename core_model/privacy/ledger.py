"""The privacy ledger of a site: what was spent of every person's budget, on disk.

One file for all runs, stages and restarts, append-only. A charge is on the disk before the noise of
its steps is drawn: a crash can make a person poorer, never richer. Nothing in it leaves the site
but the root of a tree over its lines.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_model.config import Purpose
from core_model.privacy.account import Account
from core_model.privacy.accounting import Spend
from core_model.privacy.ledger_lines import (
    FIRST,
    Charge,
    LedgerError,
    Line,
    Noise,
    Opening,
    digest_of,
    ranges,
    read_lines,
    write_line,
)
from core_model.privacy.plan import Unit


@dataclass(frozen=True)
class Occasion:
    """What steps are charged for; equal in all charges of one round."""

    run_id: str
    round: int
    purpose: Purpose
    noise: Noise | None  # None: unprotected
    plan: str  # digest
    code: str  # digest
    is_simulation: bool = False


class Ledger:
    """An open ledger. Several processes may share the file; each sees what the others wrote.

    Raises:
        LedgerError: It is damaged, of another site, or its key is missing.
    """

    def __init__(self, path: Path, site: str) -> None:
        self._path, self._site = path, site
        self._account = Account()
        self._names: dict[str, str] = {}  # of people who were asked about
        self._lines: list[bytes] = []
        self._end = 0  # bytes taken in
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked() as file:
            self._key = self._read_key()
            if not self._lines:
                self._write(file, self._opening())
            self._check_opening()

    @property
    def num_people(self) -> int:
        """How many people were ever charged."""
        self._refresh()
        return self._account.num_people

    @property
    def delta(self) -> float | None:
        """The smallest delta that was charged for."""
        self._refresh()
        return self._account.delta

    def lines(self) -> tuple[bytes, ...]:
        """Return all lines, checked."""
        self._refresh()
        return tuple(self._lines)

    def spends(self, unit: Unit | None = None) -> tuple[Spend, ...]:
        """Return all steps with noise that were ever charged to anybody, or those about a unit."""
        self._refresh()
        return self._account.spends(unit)

    def charge(
        self, occasion: Occasion, people: Sequence[str], step_from: int, steps: int, at: datetime
    ) -> None:
        """Charge steps to everybody who may be sampled in them, and see it on the disk.

        Args:
            occasion: What for.
            people: The pool: whoever may be sampled, not who was.
            step_from: First step, from 0, of the round.
            steps: How many.
            at: Now.

        Raises:
            LedgerError: The file changed in another way than by growing.
            OSError: It cannot be written. The steps must not be taken.
        """
        names = [self._name(person) for person in people]
        with self._locked() as file:
            numbers = dict(self._account.names)
            joined = tuple(n for n in dict.fromkeys(names) if n not in numbers)
            numbers |= {name: len(numbers) + k for k, name in enumerate(joined)}
            charge = Charge(
                seq=len(self._lines),
                at=at,
                run_id=occasion.run_id,
                round=occasion.round,
                purpose=occasion.purpose,
                step_from=step_from,
                steps=steps,
                event="poisson_gaussian" if occasion.noise else "unprotected",
                noise=occasion.noise,
                is_simulation=occasion.is_simulation,
                pool=ranges(numbers[name] for name in names),
                joined=joined,
                plan=occasion.plan,
                code=occasion.code,
                previous=digest_of(self._lines[-1]),
            )
            self._write(file, charge)

    def epsilons(
        self, people: Sequence[str] | None, delta: float, planned: Spend | None = None
    ) -> NDArray[np.float64]:
        """Return epsilon of people, after ``planned`` steps more; without people: of all. (P,)."""
        self._refresh()
        known = self._account.names
        numbers: list[int | None] = list(range(self._account.num_people))
        if people is not None:
            numbers = [known.get(self._name(person)) for person in people]
        return self._account.epsilons(numbers, delta, planned)

    def _name(self, person: str) -> str:
        name = self._names.get(person)
        if name is None:
            name = hmac.digest(self._key, person.encode(), "sha256").hex()
            self._names[person] = name
        return name

    def _opening(self) -> Opening:
        return Opening(site=self._site, key=hashlib.sha256(self._key).hexdigest())

    def _check_opening(self) -> None:
        (opening,) = read_lines(self._lines[:1], 0, FIRST)
        if not isinstance(opening, Opening) or opening.site != self._site:
            raise LedgerError(f"{self._path} is not the privacy ledger of {self._site}")
        if opening != self._opening():
            raise LedgerError(
                f"{self._key_path} is not the key of {self._path}: no person would be recognised, "
                "and everybody would begin anew; restore both files from one backup"
            )

    # --- the file --------------------------------------------------------------------------------

    @property
    def _key_path(self) -> Path:
        return self._path.with_suffix(".key")

    def _read_key(self) -> bytes:
        """Return the key that hides names; made together with the ledger."""
        if not self._key_path.exists() and not self._lines:
            handle = os.open(self._key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as f:
                f.write(secrets.token_bytes(32))
                f.flush()
                os.fsync(f.fileno())
        try:
            return self._key_path.read_bytes()
        except OSError as e:
            raise LedgerError(
                f"{self._key_path} cannot be read ({e.strerror}); without it no person in the "
                "ledger is recognised: restore it from the backup of the ledger"
            ) from e

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Yield the file, locked against all other processes, with all its lines taken in.

        What follows the last line feed was cut off by a crash. Its charge never came back as
        written, so no step was taken for it, and it is removed.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._take_in(handle)
            if os.fstat(handle).st_size > self._end:
                os.ftruncate(handle, self._end)
            yield handle
        finally:
            os.close(handle)

    def _refresh(self) -> None:
        """Take in what other processes wrote."""
        try:
            handle = os.open(self._path, os.O_RDONLY)
        except OSError as e:
            raise LedgerError(f"{self._path} is gone ({e.strerror}); restore it") from e
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            self._take_in(handle)
        finally:
            os.close(handle)

    def _take_in(self, handle: int) -> None:
        size = os.fstat(handle).st_size
        tail = len(self._lines[-1]) if self._lines else 0
        if size < self._end or os.pread(handle, tail, self._end - tail) != b"".join(
            self._lines[-1:]
        ):
            raise LedgerError(f"{self._path} was shortened or replaced while it was open")
        new = os.pread(handle, size - self._end, self._end)
        raw = new[: new.rfind(b"\n") + 1].splitlines(keepends=True)
        previous = digest_of(self._lines[-1]) if self._lines else FIRST
        entries = list(read_lines(raw, len(self._lines), previous))
        for line in entries:
            if isinstance(line, Charge):
                self._account.apply(line)
        self._lines += raw
        self._end += sum(map(len, raw))

    def _write(self, handle: int, line: Line) -> None:
        """Append a line and see it on the disk; only then does it count as written."""
        raw = write_line(line)
        if os.pwrite(handle, raw, self._end) != len(raw):
            raise OSError(f"{self._path}: the disk is full")
        os.fsync(handle)
        if not self._lines:
            _sync_folder(self._path.parent)
        self._take_in(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
