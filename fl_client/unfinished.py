"""Trainings at the site that are not over: what they have learned so far, in the site's state.

``<run>/progress.safetensors`` and ``<run>/epochs/``. Both learned from people, so both go when one
of them withdraws; nothing of them leaves the state folder before the training is signed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core_model.checkpoint import manifest_path
from core_model.run_folder import epoch_files, epoch_path
from core_model.training.progress import Progress, ProgressError, read_progress
from fl_client.errors import LocalStateError

FILE = "progress.safetensors"


@dataclass(frozen=True)
class UnfinishedRun:
    """The folder of one run."""

    folder: Path

    @property
    def file(self) -> Path:
        """The checkpoint that it goes on from."""
        return self.folder / FILE

    @property
    def epochs(self) -> Path:
        """Weights after each epoch."""
        return self.folder / "epochs"

    def progress(self) -> Progress | None:
        """Return how far it came; None: it did not begin.

        Raises:
            LocalStateError: The file is damaged.
        """
        try:
            return read_progress(self.file)
        except ProgressError as e:
            raise LocalStateError(str(e)) from e

    def clear_drafts(self) -> None:
        """Delete what an interrupted write left."""
        for draft in (*self.folder.glob("*.draft"), *self.epochs.glob("*.draft")):
            draft.unlink()

    def keep_epochs(self, numbers: Iterable[int]) -> None:
        """Delete the weights of all other epochs."""
        kept = {epoch_path(self.epochs, number) for number in numbers}
        for path in set(epoch_files(self.epochs)) - kept:
            manifest_path(path).unlink(missing_ok=True)
            path.unlink()

    def delete(self) -> None:
        """Delete all that it learned. What it signed before stays on record."""
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self.epochs, ignore_errors=True)


def unfinished_runs(state: Path) -> Iterator[UnfinishedRun]:
    """Yield the trainings in a site's state that are not over."""
    for file in sorted(state.glob(f"*/{FILE}")):
        yield UnfinishedRun(file.parent)
