"""Weights that never leave a site: the identity head and the MAE decoder, kept between rounds.

A row of the identity head is close to a template of one person's face, so rows are kept by person
and deleted with the person's consent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core_model.durable import put_in_place
from core_model.schema import Arrays, ParameterSchema, Role
from fl_client.errors import LocalStateError


class LocalState:
    """The local weights of one run and purpose, in files that only their owner can read.

    Those from before the last answer are kept beside those after it: a server that crashed asks for
    a round again, and the second answer must be the first one, as if nothing had happened.

    Args:
        folder: Of the site's state.
        run_id: Of the run.
        purpose: Of the round.
        number: Of the round that runs; None: none does.
    """

    def __init__(self, folder: Path, run_id: str, purpose: str, number: int | None = None) -> None:
        self._path = folder / run_id / f"{purpose}.safetensors"
        self._before = folder / run_id / f"{purpose}.before.safetensors"
        self._number = number

    def load(self, schema: ParameterSchema, subjects: tuple[str, ...], fresh: Arrays) -> Arrays:
        """Return the local weights for a model with these subjects.

        People who were there before get their rows back, others keep the row in ``fresh``.

        Raises:
            LocalStateError: The file is damaged, or of a model of another shape.
        """
        start = self._start()
        if start is None:
            return fresh
        kept, before, _ = self._read(start)
        self._check_fits(kept, fresh)
        rows = {subject: i for i, subject in enumerate(before)}
        result = {name: array.copy() for name, array in fresh.items()}
        for name, array in result.items():
            if schema.role_of(name) is not Role.IDENTITY_HEAD:
                result[name] = kept[name]
                continue
            for row, subject in enumerate(subjects):
                if subject in rows:
                    array[row] = kept[name][rows[subject]]
        return result

    def save(self, arrays: Arrays, subjects: tuple[str, ...]) -> None:
        """Keep the local weights; rows of people who are not in ``subjects`` are gone."""
        number = self._number or 0
        if self._path.exists() and self._read(self._path)[2] < number:
            self._path.replace(self._before)
        self._write(self._path, arrays, subjects, number)

    def subjects(self) -> tuple[str, ...]:
        """Return whose rows are kept.

        Raises:
            LocalStateError: A file is damaged.
        """
        names = [s for path in self._files() for s in self._read(path)[1]]
        return tuple(dict.fromkeys(names))

    def purge(self, allowed: frozenset[str]) -> int:
        """Delete the rows of everyone not in ``allowed``; return how many people that were."""
        gone = set(self.subjects()) - allowed
        for path in self._files() if gone else ():
            arrays, subjects, number = self._read(path)
            keep = [i for i, s in enumerate(subjects) if s in allowed]
            heads = {n for n in arrays if n.startswith("identity_head.")}
            cut = {n: np.ascontiguousarray(a[keep]) if n in heads else a for n, a in arrays.items()}
            self._write(path, cut, tuple(subjects[i] for i in keep), number)
        return len(gone)

    def _files(self) -> list[Path]:
        return [path for path in (self._path, self._before) if path.exists()]

    def _start(self) -> Path | None:
        """Return the file that the round starts from: the newest of an earlier round."""
        for path in self._files():
            if self._number is None or self._read(path)[2] < self._number:
                return path
        return None

    def _write(self, path: Path, arrays: Arrays, subjects: tuple[str, ...], number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.touch(mode=0o600)
        about = {"subjects": json.dumps(subjects), "round": str(number)}
        save_file(arrays, draft, metadata=about)
        draft.chmod(0o600)
        put_in_place(draft, path)

    def _check_fits(self, kept: Arrays, fresh: Arrays) -> None:
        """Check that the kept weights differ from ``fresh`` in the number of people at most."""
        shapes = [
            {n: a.shape[n.startswith("identity_head.") :] for n, a in arrays.items()}
            for arrays in (kept, fresh)
        ]
        if shapes[0] != shapes[1]:
            raise LocalStateError(
                f"{self._path} is of a model of another shape; give the run a new run_id, or "
                "delete the file to start with fresh local weights"
            )

    def _read(self, path: Path) -> tuple[Arrays, tuple[str, ...], int]:
        """Return weights, people, and the round that they are of; 0 if no file said so yet."""
        try:
            with safe_open(path, framework="numpy") as f:
                arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
                about = f.metadata()
                return arrays, tuple(json.loads(about["subjects"])), int(about.get("round", 0))
        except (SafetensorError, KeyError, TypeError, ValueError) as e:
            raise LocalStateError(
                f"{path} is damaged; delete it to start with fresh local weights"
            ) from e
