"""One worker for a site, and what it finds when the one before was killed.

What is on record stays true: a round that began and was not signed is just that, and an update that
was signed but never sent was not admitted, so the next round does not build on it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_client.diary import Diary, Entry, cut_torn_line
from fl_client.errors import WorkerError

REHEARSAL = "rehearsal-"


@contextmanager
def only_worker(state: Path) -> Iterator[None]:
    """Be the only worker of a site until the block ends, or the process does.

    Raises:
        WorkerError: There is one already.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise WorkerError(
                "a worker or a training of this site runs already; see: omote-site status"
            ) from e
        yield


def is_worker_running(state: Path) -> bool:
    """Does a worker hold the site?"""
    try:
        with only_worker(state):
            return False
    except WorkerError:
        return True


def recover(state: Path, diary: Diary) -> Entry | None:
    """Put in order what a killed worker left; return the round that it was killed in.

    Drafts and rehearsals hold rows of the identity head that a purge would not find. A manifest
    whose line was cut off belongs to an update that was never put on record.
    """
    for draft in (*state.glob("*.draft"), *state.glob("*/*.draft")):
        draft.unlink()
    for folder in state.glob(f"{REHEARSAL}*"):
        shutil.rmtree(folder)
    for manifests in state.glob("*/manifests.jsonl"):
        cut_torn_line(manifests)
    return diary.recover()
