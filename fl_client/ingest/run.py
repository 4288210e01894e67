"""Ingest what a plan says, one recording after another; each is whole afterwards, or absent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from consent.model import Role
from consent.registry import Registry
from consent.site_events import AssetLinked
from core_model.data.face import CropRecipe, FaceDetector
from core_model.data.source import LayoutError
from core_model.data.video import VideoError
from fl_client.crop_cache import CropKeys, locked, room_told
from fl_client.errors import CropCacheError
from fl_client.ingest.ahead import Cutting, Piece, cut_ahead
from fl_client.ingest.choice import spans
from fl_client.ingest.cut import Cut, OnFrame
from fl_client.ingest.plan import NO_CONSENT, Plan, Skipped, Task, may_be_cut
from fl_client.ingest.receipts import Counts, Place, Receipt, total

OnRecording = Callable[[Task], None]


class _LeftOutError(Exception):
    """A recording was cut, but may not be kept."""


@dataclass(frozen=True)
class Ingest:
    """Everything that ingesting needs."""

    registry: Registry
    place: Place
    keys: CropKeys
    detector: FaceDetector
    recipe: CropRecipe
    step: int = 1
    workers: int = 1  # recordings that are cut at once

    def cutting(self) -> Cutting:
        """Return what the cutting of faces needs of it."""
        return Cutting(self.place, self.keys, self.detector, self.recipe, self.step, self.workers)


@dataclass
class Summary:
    """What came of a plan."""

    done: list[Receipt] = field(default_factory=list)
    before: list[Receipt] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """Of all frames that are there now, from this run or an earlier one."""
        return total([*self.done, *self.before])


def run_plan(
    plan: Plan,
    work: Ingest,
    on_recording: OnRecording = lambda _: None,
    on_frame: OnFrame = lambda _: None,
) -> Summary:
    """Ingest all recordings of a plan.

    A recording that cannot be read is left out with the reason. Whatever interrupts this, what was
    whole stays, the rest leaves nothing, and the next run goes on.

    Raises:
        CropCacheError: Another process is at work here, or the disk is full.
        ConsentError: The consent log cannot be written.
    """
    place = work.place
    summary = Summary(before=list(plan.done), skipped=list(plan.skipped))
    with locked(place.folder), room_told(place.folder):
        place.prepare()
        try:
            with closing(cut_ahead(plan.todo, work.cutting(), on_frame)) as pieces:
                for piece in pieces:
                    on_recording(piece.task)
                    try:
                        summary.done.append(_keep(piece, work))
                    except (VideoError, LayoutError, _LeftOutError, cv2.error) as e:
                        name = piece.task.source.recording_id
                        summary.skipped.append(Skipped(name, str(e)))
        finally:
            place.write_listing()
    return summary


def _keep(piece: Piece, work: Ingest) -> Receipt:
    task = piece.task
    try:
        cut = piece.cut.result()
        receipt = Receipt(
            recording_id=task.source.recording_id,
            subject_id=task.subject_id,
            asset=cut.asset,
            fingerprint=task.fingerprint,
            has_labels=cut.labels is not None,
            licence=task.source.licence,
            counts=cut.counts,
        )
        _commit(task, work, cut, receipt, piece.draft, piece.key)
    finally:
        piece.draft.unlink(missing_ok=True)
    return receipt


def _commit(task: Task, work: Ingest, cut: Cut, receipt: Receipt, draft: Path, key: bytes) -> None:
    """Link the recording in the consent log and make it whole, if that may still be.

    Nobody can withdraw between the question and the answer: the log is held meanwhile, and what a
    withdrawal purges, it purges after.
    """
    others = work.place.read().values()
    if any(r.asset == cut.asset and r.recording_id != receipt.recording_id for r in others):
        raise _LeftOutError("a copy, byte for byte, of another recording")
    with work.registry.journal.writing() as state:
        # (1) Does the person still agree?
        if task.subject_id not in may_be_cut(work.registry, [task.subject_id]):
            raise _LeftOutError(NO_CONSENT)
        if work.keys.make(task.subject_id) != key:
            raise _LeftOutError("its person was purged meanwhile; run again")
        # (2) The log knows who is seen in it. What people wrote there by hand stays.
        known = state.assets.get(cut.asset)
        if known is not None and known.ended is not None:
            raise _LeftOutError("the consent log says that it is used no more")
        if known is None:
            linked = AssetLinked(
                asset=cut.asset,
                spans=spans(cut.faces, task.subject_id),
                licence=receipt.licence,
                source="omote-site ingest",
            )
            work.registry.append([linked], Role.OPERATOR)
        # (3) Whole.
        work.place.commit(receipt, draft, cut.labels)


def check_room(plan: Plan, recipe: CropRecipe, free_bytes: int) -> None:
    """Check that the crops fit on the disk.

    Raises:
        CropCacheError: They do not.
    """
    need = plan.num_bytes(recipe)
    if need > free_bytes:
        raise CropCacheError(
            f"the crops need up to {need / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free; take "
            "fewer frames with --step, or smaller crops with --size"
        )
