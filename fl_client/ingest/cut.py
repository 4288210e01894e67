"""Cut the faces out of one recording: decode, detect, crop, into an encrypted draft."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core_model.data.face import CropRecipe, FaceDetector, crop
from core_model.data.labels import UNKNOWN, Labels
from core_model.data.picture import Image
from core_model.data.source import LayoutError, Source
from core_model.data.video import (
    IMAGE_ENDINGS,
    VideoError,
    frames,
    image_files,
    num_frames,
    read_image,
)
from fl_client.crop_shard import Header, ShardWriter
from fl_client.ingest.choice import own_face
from fl_client.ingest.receipts import Counts

FEW = 10  # labels beyond the end of a recording that may be left out: DISFA has that many
SHARE = 0.02  # and in longer recordings

OnFrame = Callable[[int], None]


@dataclass(frozen=True)
class Cut:
    """What was cut out of a recording.

    Attributes:
        asset: Digest of the recording as it came (hex).
        faces: Frame number and number of faces, of every frame with a crop.
        labels: Of the frames with a crop; None: the recording has no labels.
        counts: Of frames.
    """

    asset: str
    faces: tuple[tuple[int, int], ...]
    labels: Labels | None
    counts: Counts


def cut_recording(
    source: Source,
    draft: Path,
    key: bytes,
    detector: FaceDetector,
    recipe: CropRecipe,
    step: int,
    on_frame: OnFrame,
) -> Cut:
    """Write the crops of a recording to a draft.

    Args:
        source: The recording.
        draft: File to write; deleted if anything goes wrong.
        key: To encrypt with.
        detector: Finds the faces.
        recipe: How to cut.
        step: Every which frame to take; of labelled recordings, of the labelled frames.
        on_frame: Called after each frame, with 1.

    Raises:
        VideoError: A frame cannot be read, or the recording is cut off.
        LayoutError: Its labels are not of the format, or go far beyond its end.
        OSError: The disk is full.
    """
    labels, counts, wanted = wanted_frames(source, step)
    asset = asset_digest(source.media)
    header = Header(asset=asset, recipe=recipe.label, size=recipe.size)
    writer = ShardWriter(draft, header, key)
    faces: list[tuple[int, int]] = []
    looked_at, before = 0, None
    try:
        for number, image in _images(source, wanted):
            looked_at += 1
            found = detector.detect(image)
            chosen = own_face(found, before)
            if chosen is not None:
                height, width = image.shape[:2]
                writer.add(number, crop(image, chosen, recipe), chosen, (width, height))
                faces.append((number, len(found)))
            before = chosen or before
            on_frame(1)
        if not faces:
            raise VideoError(f"{source.media.name}: no face in any of {looked_at} frames")
        writer.finish()
    except BaseException:
        writer.close()
        draft.unlink(missing_ok=True)
        raise
    kept = None if labels is None else only_frames(labels, {number for number, _ in faces})
    counts = counts.plus(
        Counts(
            looked_at=looked_at,
            cropped=len(faces),
            no_face=looked_at - len(faces),
            several_faces=sum(n > 1 for _, n in faces),
            labelled=0 if kept is None else int((kept.intensities != UNKNOWN).any(axis=1).sum()),
        )
    )
    return Cut(asset, tuple(faces), kept, counts)


def wanted_frames(source: Source, step: int) -> tuple[Labels | None, Counts, list[int] | None]:
    """Return labels, what is left out, and the numbers of the frames to read; None: all.

    Raises:
        VideoError: The recording cannot be read.
        LayoutError: Its labels are not of the format, or go far beyond its end.
    """
    if source.labels is None:
        return None, Counts(), None if step == 1 else list(frame_numbers(source))[::step]
    labels = source.labels()
    there = frame_numbers(source)
    with_frame = np.isin(labels.frames, np.fromiter(there, np.int64, len(there)))
    missing = int((~with_frame).sum())
    if missing > max(FEW, SHARE * len(labels.frames)) or not with_frame.any():
        raise LayoutError(
            f"{source.media.name}: {missing} of {len(labels.frames)} labelled frames are not there "
            f"(it has {len(there)} frames): is it the right recording?"
        )
    left = labels.frames[with_frame]
    out = Counts(unlabelled=len(there) - len(left), no_frame=missing)
    return labels, out, left[::step].tolist()


def frame_numbers(source: Source) -> range | dict[int, Path]:
    """Return the numbers of the frames that a recording has.

    Raises:
        VideoError: It cannot be read.
    """
    if source.media.is_dir() and source.is_numbered:
        return image_files(source.media)
    count = len(_unnumbered(source.media)) if source.media.is_dir() else num_frames(source.media)
    return range(1, count + 1)


def only_frames(labels: Labels, numbers: set[int]) -> Labels:
    """Return the labels of some frames."""
    keep = np.array([int(n) in numbers for n in labels.frames], bool)
    return replace(labels, frames=labels.frames[keep], intensities=labels.intensities[keep])


def asset_digest(media: Path) -> str:
    """Return SHA-256 of a video, or over the names and bytes of a folder's images (hex).

    Raises:
        VideoError: It cannot be read.
    """
    try:
        if media.is_file():
            with media.open("rb") as f:
                return hashlib.file_digest(f, "sha256").hexdigest()
        h = hashlib.sha256()
        for path in _unnumbered(media):
            h.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    except OSError as e:
        raise VideoError(f"{media.name}: cannot be read ({e.strerror})") from e
    return h.hexdigest()


def fingerprint(source: Source, recipe: CropRecipe, step: int) -> str:
    """Return what changes when a recording has to be cut again, without reading it."""
    files = [source.media] if source.media.is_file() else _unnumbered(source.media)
    stats = [(p.name, s.st_size, s.st_mtime_ns) for p in files for s in [p.stat()]]
    labels = None
    if source.labels is not None:
        read = source.labels()
        labels = hashlib.sha256(read.frames.tobytes() + read.intensities.tobytes()).hexdigest()
    text = repr((recipe.label, step, labels, source.subject, stats))
    return hashlib.sha256(text.encode()).hexdigest()


def _images(source: Source, wanted: list[int] | None) -> Iterator[tuple[int, Image]]:
    if source.is_numbered or source.media.is_file():
        yield from frames(source.media, wanted)
        return
    files = _unnumbered(source.media)
    for number in wanted if wanted is not None else range(1, len(files) + 1):
        yield number, read_image(files[number - 1])


def _unnumbered(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names."""
    if folder.is_file():
        return [folder]
    found = (p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_ENDINGS)
    return [p for p in found if not p.name.startswith(".")]
