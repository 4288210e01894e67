"""omote-sim mask and mask-score: hide faces behind a mask, and what that is worth."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import typer

from core_model.data.face import FaceModelError
from core_model.data.video import VideoError
from core_model.predictor import Predictor
from core_model.release.model_file import ModelFileError, read_model
from core_model.release.signature import SignatureError, read_public_keys
from core_model.use.annotate import VideoFile
from core_model.use.inputs import Frame, Input, find_inputs, frame_rate, num_frames, read
from core_model.use.permit import PermitError, read_permit
from core_model.use.session import Choices, Session
from simulations.mask.reenact import Mask
from simulations.mask.score import score, table
from simulations.mask.ways import Way, hide_in

CACHE = Path.home() / ".cache" / "omote"
FAILURES = (
    FaceModelError, ModelFileError, OSError, PermitError, SignatureError, ValueError, VideoError,
)  # fmt: skip
Model = Annotated[Path, typer.Option(help="A released model (.onnx).")]
Trust = Annotated[str | None, typer.Option(help="Key of whoever released it, or a file of keys.")]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="Though nobody vouches for it.")]
Person = Annotated[int, typer.Option(min=0, help="Which generated person is the mask.")]
Cache = Annotated[Path, typer.Option(help="Folder for generated faces.")]


def mask(
    inputs: Annotated[list[str], typer.Argument(help="Images, videos, or folders of them.")],
    model: Model,
    permit: Annotated[Path, typer.Option(help="From: omote-consent policy permit.")],
    out: Annotated[Path, typer.Option(help="Folder for what is hidden.")],
    way: Annotated[Way, typer.Option(help="How to hide.")] = "reenact",
    trust: Trust = None,
    unsigned: Unsigned = False,
    person: Person = 0,
    cache: Cache = CACHE,
) -> None:
    """Hide the faces of pictures and videos; with reenact, a generated person moves instead.

    Hair, body, voice and place outside of the cut-out stay and can name a person. A face that the
    detector misses is not hidden: look at the result before you share it.
    """
    try:
        read_permit(permit, datetime.now(UTC))
        keys = read_public_keys(trust) if trust else ()
        session = Session.open(model, keys, unsigned, Choices(every=1, detect_side=640))
        drawn = Mask(cache, person)
        out.mkdir(parents=True, exist_ok=True)
        for given in find_inputs(inputs):
            done, missed = _hide_input(given, session, drawn, way, out)
            typer.echo(f"{given.name}: {done} frames in {out}")
            if missed:
                typer.echo(f"  no face found in {missed}: these were blacked out")
    except FAILURES as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e


def mask_score(
    recordings: Annotated[Path, typer.Argument(help="Labelled crops, two recordings a person.")],
    model: Model,
    trust: Trust = None,
    unsigned: Unsigned = False,
    person: Person = 0,
    cache: Cache = CACHE,
) -> None:
    """Print what each way keeps of the AUs, and how many people are still recognised."""
    try:
        keys = read_public_keys(trust) if trust else ()
        predictor = Predictor(read_model(model, keys, may_be_unsigned=unsigned))
        found = score(recordings, predictor, Mask(cache, person, max(64, predictor.recipe.size)))
    except FAILURES as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    for line in table(found):
        typer.echo(line)


def _hide_input(
    given: Input, session: Session, drawn: Mask, way: Way, out: Path
) -> tuple[int, int]:
    """Hide one input; return frames written and frames without a face."""
    reader = session.reader(given)
    is_film = given.kind == "recording"
    video = VideoFile(out / f"{given.name}.mp4", frame_rate(given.paths[0])) if is_film else None
    done = missed = 0
    with typer.progressbar(length=num_frames(given) or 0, label=given.name) as bar:
        for frame in read(given):
            bar.update(1)
            if not isinstance(frame, Frame):
                typer.echo(f"  skipped: {frame}", err=True)
                continue
            readings = reader.read(frame.number, frame.time_s, frame.image)
            image = hide_in(way, frame.image, readings, session.predictor, drawn)
            missed += not readings
            done += 1
            if video is not None:
                video.write(image)
            else:
                path = out / f"{Path(frame.source).stem}.png"
                cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if video is not None:
        video.close()
    return done, missed
