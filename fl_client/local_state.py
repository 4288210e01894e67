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

from core_model.schema import Arrays, ParameterSchema, Role
from fl_client.errors import LocalStateError


class LocalState:
    """The local weights of one run and purpose, in one file that only its owner can read."""

    def __init__(self, folder: Path, run_id: str, purpose: str) -> None:
        self._path = folder / run_id / f"{purpose}.safetensors"

    def load(self, schema: ParameterSchema, subjects: tuple[str, ...], fresh: Arrays) -> Arrays:
        """Return the local weights for a model with these subjects.

        People who were there before get their rows back, others keep the row in ``fresh``.

        Raises:
            LocalStateError: The file is damaged, or of a model of another shape.
        """
        if not self._path.exists():
            return fresh
        kept, before = self._read()
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
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.touch(mode=0o600)
        save_file(arrays, draft, metadata={"subjects": json.dumps(subjects)})
        draft.chmod(0o600)
        draft.replace(self._path)

    def subjects(self) -> tuple[str, ...]:
        """Return whose rows are kept.

        Raises:
            LocalStateError: The file is damaged.
        """
        return self._read()[1] if self._path.exists() else ()

    def purge(self, allowed: frozenset[str]) -> int:
        """Delete the rows of everyone not in ``allowed``; return how many people that were."""
        if not self._path.exists():
            return 0
        arrays, subjects = self._read()
        keep = [i for i, s in enumerate(subjects) if s in allowed]
        gone = len(subjects) - len(keep)
        if gone:
            heads = {n for n in arrays if n.startswith("identity_head.")}
            cut = {n: np.ascontiguousarray(a[keep]) if n in heads else a for n, a in arrays.items()}
            self.save(cut, tuple(subjects[i] for i in keep))
        return gone

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

    def _read(self) -> tuple[Arrays, tuple[str, ...]]:
        try:
            with safe_open(self._path, framework="numpy") as f:
                arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
                return arrays, tuple(json.loads(f.metadata()["subjects"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as e:
            raise LocalStateError(
                f"{self._path} is damaged; delete it to start with fresh local weights"
            ) from e
