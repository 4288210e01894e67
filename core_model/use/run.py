"""Read inputs from start to end into tables: resumable, and damaged input does not stop the rest.

For each input ``NAME``: ``NAME.csv`` (or .jsonl, .parquet), ``NAME.html``, and if asked for
``NAME.annotated.mp4``. ``run.json`` says how everything was made and what is finished. While an
input is unfinished, its table is called ``NAME.csv.part`` and ``NAME.unfinished.json`` (readable by
its owner alone) holds what goes on after an interruption.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core_model.data.video import VideoError
from core_model.release.card import Statistics
from core_model.use.annotate import VideoFile, annotate
from core_model.use.drift import Seen
from core_model.use.inputs import DEFAULT_RATE, Frame, Input, frame_rate, read
from core_model.use.reader import FrameReader, Reading
from core_model.use.rows import Names, columns, row_of
from core_model.use.timeline import Timeline, page
from core_model.use.writers import Format, RowWriter, open_writer

SAVE_EVERY_S = 5.0
Progress = Callable[[int], None]  # frames of this input that are done


@dataclass(frozen=True)
class Output:
    """What is written, and where."""

    folder: Path
    names: Names
    formats: tuple[Format, ...]
    has_timeline: bool
    has_video: bool
    about: dict[str, Any]  # model, permit and settings, as they stand in run.json
    use: str  # start of the digest of the declared use
    seconds: float | None = None  # of a camera


@dataclass
class Found:
    """What came of one input."""

    frames: int = 0
    faces: int = 0
    problems: list[str] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)  # histograms, for omote-model drift


class AlreadyUsedError(Exception):
    """The folder holds results of other settings."""


def finished(output: Output) -> dict[str, Any]:
    """Return the inputs of this folder that are finished, by name.

    Raises:
        AlreadyUsedError: They were made in another way.
    """
    path = output.folder / "run.json"
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text("utf-8"))
        same, done = record["about"] == output.about, dict(record["inputs"])
    except (ValueError, KeyError, TypeError) as e:
        raise AlreadyUsedError(f"{path} is damaged; take another --out, or --fresh") from e
    if not same:
        raise AlreadyUsedError(
            f"{output.folder} holds results of another model, permit or settings: take another "
            "--out, or --fresh to write over them"
        )
    return done


def record(output: Output, done: dict[str, Any]) -> None:
    """Write ``run.json``."""
    _replace(
        output.folder / "run.json",
        json.dumps({"about": output.about, "inputs": done}, indent=2, ensure_ascii=False) + "\n",
    )


def run_input(given: Input, reader: FrameReader, output: Output, tell: Progress) -> Found:
    """Read one input to its end; return what was found.

    An interruption (KeyboardInterrupt) saves the state and is passed on; of a camera it is the end.
    """
    job = _Job(given, reader, output)
    job.begin()
    try:
        job.go(tell)
    except KeyboardInterrupt:
        if given.kind != "camera":
            job.save()
            job.close()
            raise
    job.finish()
    return job.found


class _Job:
    def __init__(self, given: Input, reader: FrameReader, output: Output) -> None:
        self.given, self.reader, self.output = given, reader, output
        self.found = Found()
        card = reader.card
        self.aus = card.action_units
        self.timeline = Timeline(self.aus, np.array([card.thresholds[au] for au in self.aus]))
        self.seen = Seen(self.aus)
        self.done = 0  # frames, damaged ones too
        self._state = output.folder / f"{given.name}.unfinished.json"
        self._writers: dict[Format, RowWriter] = {}
        self._video: VideoFile | None = None

    def begin(self) -> None:
        """Open the files: new ones, or those of an interrupted run."""
        marks = self._restore()
        heads = columns(self.output.names, self.aus)
        for kind in self.output.formats:
            part, mark = self._part(kind), marks.get(kind)
            self._writers[kind] = open_writer(kind, part, heads, self.output.about, mark)
        if self.output.has_video:
            rate = DEFAULT_RATE
            if self.given.kind == "recording":
                rate = frame_rate(self.given.paths[0])
            self._video = VideoFile(self.output.folder / f"{self.given.name}.annotated.mp4", rate)

    def go(self, tell: Progress) -> None:
        """Read frame after frame."""
        saved = time.monotonic()
        try:
            for frame in self._frames():
                self._frame(frame)
                tell(self.done)
                now = time.monotonic()
                if now - saved > SAVE_EVERY_S:
                    self.save()
                    saved = now
                if isinstance(frame, Frame) and self._is_over(frame):
                    break
        except VideoError as e:
            self.found.problems.append(str(e))

    def save(self) -> None:
        """Bring everything to disk, so that the next run goes on from here."""
        marks = {kind: writer.mark() for kind, writer in self._writers.items()}
        if None in marks.values() or self._video is not None or self.given.kind == "camera":
            return  # Parquet and MP4 cannot go on: such an input starts again
        state = {
            "about": self.output.about, "done": self.done, "marks": marks,
            "found": vars(self.found), "reader": self.reader.state(),
            "timeline": self.timeline.state(),
            "seen": self.seen.statistics().model_dump(mode="json"),
        }  # fmt: skip
        _replace(self._state, json.dumps(state), mode=0o600)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        if self._video is not None:
            self._video.close()

    def finish(self) -> None:
        """Close the files and give them their names."""
        self.close()
        for kind in self.output.formats:
            self._part(kind).replace(self.output.folder / f"{self.given.name}.{kind}")
        if self.output.has_timeline and self.given.kind != "images":
            text = page(self.given.name, self.timeline, plain(self.output.about))
            _replace(self.output.folder / f"{self.given.name}.html", text)
        self._state.unlink(missing_ok=True)
        self.found.statistics = self.seen.statistics().model_dump(mode="json")

    def _frame(self, frame: Frame | VideoError) -> None:
        self.done += 1
        if isinstance(frame, VideoError):
            self.found.problems.append(str(frame))
            return
        readings = self.reader.read(frame.number, frame.time_s, frame.image)
        self.found.frames += 1
        self.found.faces += len(readings)
        shown: list[Reading | None] = [*readings] or [None]
        for reading in shown:
            row = row_of(self.output.names, self.aus, frame, reading, self.output.use)
            for writer in self._writers.values():
                writer.write(row)
        for reading in readings:
            self.seen.add(reading.probabilities, reading.brightness, reading.contrast)
        self.timeline.add(frame.number, frame.time_s, readings)
        if self._video is not None:
            self._video.write(annotate(frame.image, readings, self.aus))

    def _frames(self) -> Iterator[Frame | VideoError]:
        """Yield what is not done; the frame before, if there was one, is shown to the reader."""
        if not self.done or self.given.kind == "images":
            return read(self.given, skip=self.done)
        frames = read(self.given, skip=self.done - 1)
        last = next(frames, None)
        if isinstance(last, Frame):
            self.reader.prime(last.image)
        return frames

    def _is_over(self, frame: Frame) -> bool:
        limit = self.output.seconds
        return self.given.kind == "camera" and limit is not None and frame.time_s >= limit

    def _restore(self) -> dict[str, int]:
        try:
            state = json.loads(self._state.read_text("utf-8"))
            if state["about"] != self.output.about:
                return {}
            sizes = {k: self._part(k).stat().st_size for k in self.output.formats}
            if any(size < state["marks"][k] for k, size in sizes.items()):
                return {}
            self.reader.restore(state["reader"])
            self.timeline.restore(state["timeline"])
            self.seen = Seen.of(Statistics.model_validate(state["seen"]))
            self.found, self.done = Found(**state["found"]), int(state["done"])
            return dict(state["marks"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # nothing to go on from: from the start

    def _part(self, kind: Format) -> Path:
        return self.output.folder / f"{self.given.name}.{kind}.part"


def plain(about: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested facts as lines, for people."""
    lines: list[tuple[str, str]] = []
    for key, value in about.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict):
            lines += plain(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            lines.append((name, "; ".join(map(str, value)) or "none"))
        else:
            lines.append((name, "none" if value is None else str(value)))
    return lines


def _replace(path: Path, text: str, mode: int = 0o644) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as f:
        f.write(text)
    draft.replace(path)
