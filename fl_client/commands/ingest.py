"""omote-site ingest: from videos and data sets to face crops that rounds can train on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from fl_client.errors import SiteError

INTERRUPTED = 130
PROCESSORS = min(os.cpu_count() or 1, 8)  # of this machine


def ingest(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="Layout of the recordings.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    site: Annotated[Path, typer.Option(help="The site.toml.")] = Path("site.toml"),
    labels: Annotated[Path | None, typer.Option(help="fmae, table: file of labels.")] = None,
    data_set: Annotated[str, typer.Option(help="fmae: bp4d, bp4d_plus or disfa.")] = "bp4d",
    camera: Annotated[str, typer.Option(help="disfa: left or right.")] = "right",
    values: Annotated[str, typer.Option(help="table: occurrence or intensity.")] = "occurrence",
    licence: Annotated[str, typer.Option(help="folder: licence.")] = "own recordings",
    prefix: Annotated[
        str | None, typer.Option(help="Before the data set's names of people.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="How to cut: aligned5 or box5.")] = "aligned5",
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of a crop, pixels.")] = 224,
    step: Annotated[int, typer.Option(min=1, help="Take every which frame.")] = 1,
    detector: Annotated[Path | None, typer.Option(help="Another YuNet file.")] = None,
    threshold: Annotated[float, typer.Option(min=0.1, max=1, help="Least score of a face.")] = 0.6,
    workers: Annotated[
        int, typer.Option(min=1, help="Recordings to cut at once.", show_default="processors")
    ] = PROCESSORS,
    to: Annotated[Path | None, typer.Option(help="List to write; the first of site.toml.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Cut the faces out of recordings, encrypted, for those who agree. Goes on where it stopped.

    FORMAT is the layout that the recordings come in: bp4d, bp4d_plus, disfa, fmae (FMAE's label
    files), table (your own CSV or Parquet) or folder (no labels: a folder for each person).
    People must be in the consent log first; without --prefix BP4D's F001 is bp4d-F001 there.
    """
    from core_model.data.face import FaceModelError  # OpenCV takes a moment: not for --help
    from fl_client.ingest.dialogue import Wishes, carry_out

    wishes = Wishes(
        form=form, root=root, site=site, labels=labels, data_set=data_set, camera=camera,
        values=values, licence=licence, prefix=prefix, recipe=recipe, size=size, step=step,
        detector=detector, threshold=threshold, workers=workers, to=to, dry_run=dry_run,
        as_json=as_json,
    )  # fmt: skip
    try:
        carry_out(wishes)
    except KeyboardInterrupt as e:
        typer.echo("\nStopped. What was whole stays; run the same command to go on.", err=True)
        raise typer.Exit(INTERRUPTED) from e
    except (SiteError, ConsentError, FaceModelError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
