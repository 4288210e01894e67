"""One call of ``omote-model predict``: a model, what was chosen, and all inputs in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from core_model.config import Settings
from core_model.data.face import FaceDetector
from core_model.data.video import VideoError
from core_model.predictor import Predictor
from core_model.release.model_file import ReleasedModel, read_model
from core_model.release.signature import PublicKey
from core_model.use.adjust import Adjuster
from core_model.use.inputs import Input, find_inputs, num_frames
from core_model.use.permit import Permit
from core_model.use.reader import FrameReader
from core_model.use.rows import Names
from core_model.use.run import Found, Output, finished, record, run_input
from core_model.use.tracking import FaceTracker
from core_model.use.writers import Format

_SHOWN = 5  # problems of one input on the screen; run.json has all of them


class Choices(Settings):
    """What can be chosen without changing the model."""

    formats: tuple[Format, ...] = ("csv",)
    names: Names = "omote"
    has_timeline: bool = True
    has_video: bool = False
    neutral_frame: int | None = None
    smooth_s: float = 0.0  # 0: no smoothing
    abstain: float = 0.05  # distance from a threshold
    every: int = 5  # frames from one detection to the next
    detect_side: int = 320  # pixels
    is_recording: bool = False  # a folder of numbered images is one recording
    are_crops: bool = False


@dataclass(frozen=True)
class Session:
    """A model that is ready to be used as chosen."""

    model: ReleasedModel
    predictor: Predictor
    detector: FaceDetector | None
    choices: Choices

    @classmethod
    def open(
        cls,
        model: Path,
        keys: Sequence[PublicKey],
        may_be_unsigned: bool,
        choices: Choices,
        detector: Path | None = None,
        threads: int = 1,
    ) -> Session:
        """Read and check a model and the detector.

        Raises:
            ModelFileError: The model is not to be trusted, or cannot run.
            FaceModelError: The detector is not there.
            ValueError: A choice does not fit the model.
        """
        read = read_model(model, keys, may_be_unsigned=may_be_unsigned)
        faces = None if choices.are_crops else FaceDetector(detector)
        predictor = Predictor(read, threads)
        read = replace(read, content=b"")  # the runtime has its own copy
        session = cls(read, predictor, faces, choices)
        session.reader(Input("", "recording", ()))  # refuses now what does not fit
        return session

    def line(self) -> str:
        """Say in one line what the model is and who vouches for it."""
        card = self.model.card
        who = (
            f"signed by {self.model.signer}" if self.model.signer else "NOT checked for who made it"
        )
        return f"{self.model.name}, {card.precision}, {who}; licence: {card.licence}"

    def about(self, permit: Permit, permit_signer: str | None) -> dict[str, Any]:
        """Return all that the results depend on, to be written beside them."""
        card = self.model.card
        return {
            "model": {
                "file": self.model.name,
                "sha256": self.model.digest,
                "signed_by": self.model.signer or "not checked",
                "precision": card.precision,
                "licence": card.licence,
                "made_for": card.purpose,
                "prohibited_uses": list(card.prohibited_uses),
                "crop": f"{card.crop.name} version {card.crop.version}, {card.crop.size} px",
                "thresholds": {f"AU{au}": round(t, 4) for au, t in card.thresholds.items()},
                "thresholds_chosen_by": card.threshold_policy,
                "probabilities": "calibrated" if card.fit else "not calibrated",
            },
            "permit": {
                "use": permit.title,
                "declaration": permit.declaration,
                "rules": permit.policy,
                "decided_at": permit.decided_at.isoformat(),
                "signed_by": permit_signer or "not checked: the user's own declaration",
                "duties": list(permit.duties),
            },
            "settings": self.choices.model_dump(mode="json"),
        }

    def reader(self, given: Input) -> FrameReader:
        """Return what reads the frames of one input."""
        chosen, card = self.choices, self.model.card
        follows = given.kind != "images" and self.detector is not None
        tracker = None
        if follows and self.detector is not None:
            tracker = FaceTracker(self.detector, chosen.every, chosen.detect_side)
        reference = None
        if card.neutral_logits:
            reference = np.array([card.neutral_logits[au] for au in card.action_units])
        is_alone = given.kind == "images"  # every image for itself: nothing before it counts
        adjuster = Adjuster(
            reference,
            None if is_alone else chosen.neutral_frame,
            0.0 if is_alone else chosen.smooth_s,
        )
        return FrameReader(
            self.predictor, self.detector, abstain=chosen.abstain, tracker=tracker,
            adjuster=adjuster,
        )  # fmt: skip

    def run(
        self,
        named: Sequence[str],
        folder: Path,
        about: dict[str, Any],
        use: str,
        *,
        seconds: float | None,
        is_fresh: bool,
        tell: Callable[[str], None],
    ) -> int:
        """Read everything that is not finished; return the number of problems.

        Raises:
            VideoError: Something that was named is not there.
            AlreadyUsedError: The folder holds other results.
        """
        inputs = find_inputs(named, is_recording=self.choices.is_recording)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = self.choices
        output = Output(
            folder, chosen.names, chosen.formats, chosen.has_timeline, chosen.has_video, about, use,
            seconds,
        )  # fmt: skip
        if is_fresh:
            for stale in [folder / "run.json", *folder.glob("*.unfinished.json")]:
                stale.unlink(missing_ok=True)
        done = finished(output)
        for given in inputs:
            if given.name in done and given.kind != "camera":
                tell(f"{given.name}: finished before; --fresh reads it again")
                continue
            found = self._read(given, output)
            done[given.name] = vars(found)
            record(output, done)
            _report(given, found, output, tell)
        return sum(len(done[given.name]["problems"]) for given in inputs)

    def _read(self, given: Input, output: Output) -> Found:
        try:
            total = num_frames(given)
        except VideoError:
            total = None  # reading it will say what is wrong
        with _bar(given.name, total) as tell:
            return run_input(given, self.reader(given), output, tell)


def _report(given: Input, found: Found, output: Output, tell: Callable[[str], None]) -> None:
    tell(f"{given.name}: {found.frames:,} frames, {found.faces:,} faces")
    for problem in found.problems[:_SHOWN]:
        tell(f"  skipped: {problem}")
    if (more := len(found.problems) - _SHOWN) > 0:
        tell(f"  and {more} more, in run.json")
    for kind in output.formats:
        tell(f"  table     {output.folder / f'{given.name}.{kind}'}")
    if output.has_timeline and given.kind != "images":
        tell(f"  timeline  {output.folder / f'{given.name}.html'}")


@contextmanager
def _bar(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
             TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*parts, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=total, rate="")

        def tell(done: int) -> None:
            speed = bars.tasks[0].speed
            bars.update(task, completed=done, rate=f"{speed:.0f}/s" if speed else "")

        yield tell
