"""Cut several recordings at once, and hand them over in the order of the plan.

Threads are enough: decoding, finding faces and encryption are done outside Python's lock. At most
``workers`` recordings are in work or wait to be taken, so memory and drafts are bounded.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core_model.data.face import CropRecipe, FaceDetector
from fl_client.crop_cache import CropKeys
from fl_client.ingest.cut import Cut, OnFrame, cut_recording
from fl_client.ingest.plan import Task
from fl_client.ingest.receipts import DRAFT, Place


class StoppedError(Exception):
    """A recording is not wanted any more: another one failed, or the user stopped."""


@dataclass(frozen=True)
class Piece:
    """A recording whose faces are being cut out into ``draft``; ``cut`` waits for them."""

    task: Task
    key: bytes
    draft: Path
    cut: Future[Cut]


@dataclass(frozen=True)
class Cutting:
    """How to cut, and how many at once."""

    place: Place
    keys: CropKeys
    detector: FaceDetector
    recipe: CropRecipe
    step: int
    workers: int


def cut_ahead(
    tasks: Sequence[Task], how: Cutting, on_frame: OnFrame
) -> Generator[Piece, None, None]:
    """Yield the pieces of a plan in its order, the next ones being cut meanwhile.

    Close the iterator whatever happens: it then stops what is being cut and deletes the drafts
    that nobody took.
    """
    spare: queue.SimpleQueue[FaceDetector] = queue.SimpleQueue()
    for k in range(how.workers):
        spare.put(how.detector.twin() if k else how.detector)
    is_over = threading.Event()

    def tell(count: int) -> None:
        if is_over.is_set():
            raise StoppedError
        on_frame(count)

    def cut(task: Task, key: bytes, draft: Path) -> Cut:
        detector = spare.get()
        try:
            return cut_recording(task.source, draft, key, detector, how.recipe, how.step, tell)
        finally:
            spare.put(detector)

    waiting: deque[Piece] = deque()
    with ThreadPoolExecutor(how.workers, "cut") as pool:
        try:
            for task in tasks:
                name = task.source.recording_id
                draft = how.place.crops(name).with_suffix(DRAFT)
                key = how.keys.make(task.subject_id)
                job = pool.submit(cut, task, key, draft)
                waiting.append(Piece(task, key, draft, job))
                if len(waiting) == how.workers:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            is_over.set()
            for piece in waiting:
                piece.cut.cancel()
    for piece in waiting:
        piece.draft.unlink(missing_ok=True)
