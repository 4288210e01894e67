"""omote-model predict: Action Units of images, videos and cameras, by a released model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

TRUSTED = Path.home() / ".config" / "omote" / "trusted-keys"
EXIT_PROBLEMS, EXIT_DENIED, EXIT_INTERRUPTED = 3, 4, 130


def predict(
    inputs: Annotated[
        list[str], typer.Argument(help="Images, videos, folders of them, or camera:0.")
    ],
    model: Annotated[Path, typer.Option(help="A released model (.onnx).")],
    permit: Annotated[
        Path, typer.Option(help="That this use is permitted; from: omote-consent policy permit.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables and pages.")],
    trust: Annotated[
        str | None,
        typer.Option(help=f"Key of whoever released the model, or a file of keys; else {TRUSTED}."),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Use the model though nobody vouches for it.")
    ] = False,
    permit_key: Annotated[
        str | None, typer.Option(help="Key (or file of keys) that must have signed the permit.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Of the tables: csv, jsonl, parquet, or some as a,b.")
    ] = "csv",
    names: Annotated[
        Literal["omote", "openface", "pyfeat"], typer.Option(help="Whose column names.")
    ] = "omote",
    timeline: Annotated[bool, typer.Option(help="A page of AUs over time.")] = True,
    video: Annotated[bool, typer.Option("--video", help="Also an annotated video.")] = False,
    neutral: Annotated[
        int | None,
        typer.Option(min=1, help="Frame in which everyone's face is neutral: set off against it."),
    ] = None,
    smooth: Annotated[float, typer.Option(min=0, help="Seconds of smoothing; 0: none.")] = 0.0,
    abstain: Annotated[
        float, typer.Option(min=0, max=0.5, help="Say nothing this close to a threshold.")
    ] = 0.05,
    every: Annotated[int, typer.Option(min=1, help="Detect in one frame of so many.")] = 5,
    detect_side: Annotated[
        int, typer.Option(min=64, help="Pixels of the long side to detect on; more: smaller faces.")
    ] = 320,
    detector: Annotated[Path | None, typer.Option(help="Another YuNet file.")] = None,
    recording: Annotated[
        bool, typer.Option("--recording", help="A folder of numbered images is one recording.")
    ] = False,
    crops: Annotated[bool, typer.Option("--crops", help="Images are crops of faces.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Of a camera; else Ctrl-C ends.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores for the model.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on; start over.")] = False,
) -> None:
    """Find faces and tell which Action Units occur. Needs no torch and no network.

    Interrupt it with Ctrl-C: the same command goes on where it stopped. AUs are movements, not
    emotions: docs/use.md says why there are no emotion labels.
    """
    from core_model.data.face import FaceModelError
    from core_model.data.video import VideoError
    from core_model.release.model_file import ModelFileError
    from core_model.release.signature import SignatureError, read_public_keys
    from core_model.use.permit import PermitError, read_permit
    from core_model.use.run import AlreadyUsedError
    from core_model.use.session import Choices, Session
    from core_model.use.writers import parse_formats

    try:
        choices = Choices(
            formats=parse_formats(formats), names=names, has_timeline=timeline,
            has_video=video, neutral_frame=neutral, smooth_s=smooth, abstain=abstain, every=every,
            detect_side=detect_side, is_recording=recording, are_crops=crops,
        )  # fmt: skip
        # (1) is this use permitted?
        permit_keys = read_public_keys(permit_key) if permit_key else ()
        permitted, permit_signer = read_permit(permit, datetime.now(UTC), permit_keys)
        # (2) who vouches for the model?
        given = trust or (str(TRUSTED) if TRUSTED.exists() else None)
        keys = read_public_keys(given) if given else ()
        session = Session.open(model, keys, unsigned, choices, detector, threads)
        about = session.about(permitted, permit_signer)
        typer.echo(f"Permitted: {permitted.title} (until {permitted.valid_until:%Y-%m-%d})")
        for duty in permitted.duties:
            typer.echo(f"  your duty: {duty}")
        typer.echo(f"Model: {session.line()}")
        # (3) read
        use = permitted.declaration[:12]
        problems = session.run(
            inputs, out, about, use, seconds=seconds, is_fresh=fresh, tell=typer.echo
        )
    except (PermitError, ModelFileError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(EXIT_DENIED) from e
    except (SignatureError, FaceModelError, VideoError, AlreadyUsedError, ValueError, OSError) as e:
        _fail(str(e))
    except KeyboardInterrupt as e:
        typer.echo("Interrupted. The same command goes on from here.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from e
    if problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
