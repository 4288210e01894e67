"""omote-site ingest: from videos and data sets to face crops that rounds can train on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from core_model.data.face import RECIPES, FaceModelError
from fl_client.errors import SiteError
from fl_client.ingest.formats import Details, Format, find, prefix_of
from fl_client.ingest.plan import Plan, Skipped, make_plan
from fl_client.ingest.receipts import Counts, Place
from fl_client.ingest.run import Ingest, Summary, check_room, run_plan

INTERRUPTED = 130
MOST_NAMED = 10
_MEANINGS = {
    "looked_at": "frames looked at",
    "cropped": "with a face cut out",
    "no_face": "without a usable face (turned away, hidden, too small or too dark)",
    "several_faces": "with several faces: barred until you name everyone in them",
    "labelled": "cut out and labelled",
    "unlabelled": "left out: nobody coded them",
    "no_frame": "labels beyond the end of their recording",
}


def ingest(
    form: Annotated[Format, typer.Argument(metavar="FORMAT", help="/".join(Format) + ".")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    site: Annotated[Path, typer.Option(help="The site.toml.")] = Path("site.toml"),
    labels: Annotated[Path | None, typer.Option(help="fmae, table: file of labels.")] = None,
    data_set: Annotated[str, typer.Option(help="fmae: bp4d, bp4d_plus or disfa.")] = "bp4d",
    camera: Annotated[str, typer.Option(help="disfa: left or right.")] = "right",
    values: Annotated[str, typer.Option(help="table: occurrence or intensity.")] = "occurrence",
    licence: Annotated[str, typer.Option(help="folder: licence.")] = Details.licence,
    prefix: Annotated[
        str | None, typer.Option(help="Before the data set's names of people.")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"How to cut: {', '.join(RECIPES)}.")] = "aligned5",
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of a crop, pixels.")] = 224,
    step: Annotated[int, typer.Option(min=1, help="Take every which frame.")] = 1,
    detector: Annotated[Path | None, typer.Option(help="Another YuNet file.")] = None,
    threshold: Annotated[float, typer.Option(min=0.1, max=1, help="Least score of a face.")] = 0.6,
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
    from core_model.data.face import FaceDetector  # OpenCV takes a moment: not for --help

    try:
        if recipe not in RECIPES:
            raise SiteError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
        details = _details(labels, data_set, camera, values, licence)
        work = _work(site, to, FaceDetector(detector, threshold), recipe, size, step)
        before = prefix_of(form, details) if prefix is None else prefix
        plan = make_plan(
            find(form, root, details), work.registry, work.place.read(), work.recipe, step, before
        )
        free = shutil.disk_usage(_existing(work.place.folder)).free
        if not as_json:
            _tell_plan(plan, work, free)
        if dry_run:
            _end(Summary(before=list(plan.done), skipped=list(plan.skipped)), as_json, plan)
            return
        check_room(plan, work.recipe, free)
        summary = _run(plan, work, quiet=as_json)
    except KeyboardInterrupt as e:
        typer.echo("\nStopped. What was whole stays; run the same command to go on.", err=True)
        raise typer.Exit(INTERRUPTED) from e
    except (SiteError, ConsentError, FaceModelError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    _end(summary, as_json, plan)


def _details(labels: Path | None, data_set: str, camera: str, values: str, licence: str) -> Details:
    for name, given, known in (
        ("data-set", data_set, ("bp4d", "bp4d_plus", "disfa")),
        ("camera", camera, ("left", "right")),
        ("values", values, ("occurrence", "intensity")),
    ):
        if given not in known:
            raise SiteError(f"--{name}: expected one of {', '.join(known)}, got {given!r}")
    return Details(labels, data_set, camera, values, licence)  # type: ignore[arg-type]  # above


def _work(
    site: Path, to: Path | None, detector: object, recipe: str, size: int, step: int
) -> Ingest:
    """Open what ingesting needs. The lists of recordings are not read: there may be none yet."""
    from consent.registry import Registry
    from core_model.data.face import FaceDetector
    from fl_client.config import load_site_config
    from fl_client.crop_cache import CropKeys

    assert isinstance(detector, FaceDetector)
    config = load_site_config(site)
    return Ingest(
        registry=Registry.open(config.consent, lambda: datetime.now(UTC)),
        place=Place(to or config.recordings[0]),
        keys=CropKeys(config.consent / "keys" / "crops"),
        detector=detector,
        recipe=RECIPES[recipe].resized(size),
        step=step,
    )


def _run(plan: Plan, work: Ingest, *, quiet: bool) -> Summary:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("", total=plan.num_frames)
        return run_plan(
            plan,
            work,
            lambda t: bar.update(task, description=t.source.recording_id),
            lambda n: bar.advance(task, n),
        )


def _existing(folder: Path) -> Path:
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def _tell_plan(plan: Plan, work: Ingest, free: int) -> None:
    people = len({t.subject_id for t in plan.todo})
    typer.echo(
        f"To do: {len(plan.todo)} recordings of {people} people, {plan.num_frames:,} frames; "
        f"up to {plan.num_bytes(work.recipe) / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free."
    )
    typer.echo(f"Done before: {len(plan.done)}. Left out: {len(plan.skipped)}.")


def _end(summary: Summary, as_json: bool, plan: Plan) -> None:
    if as_json:
        value = {
            "recordings": {"done": len(summary.done), "before": len(summary.before)},
            "to_do": len(plan.todo) - len(summary.done),
            "frames": summary.counts.model_dump(),
            "skipped": [{"what": s.what, "why": s.why} for s in summary.skipped],
        }
        typer.echo(json.dumps(value, indent=2))
        return
    if summary.done or summary.before:
        typer.echo(f"Ingested: {len(summary.done)} recordings now, {len(summary.before)} before.")
        _tell_counts(summary.counts)
    _tell_skipped(summary.skipped)


def _tell_counts(counts: Counts) -> None:
    for name, meaning in _MEANINGS.items():
        number = getattr(counts, name)
        if number or name in ("looked_at", "cropped"):
            typer.echo(f"{number:10,}  {meaning}")


def _tell_skipped(skipped: list[Skipped]) -> None:
    for why, number in Counter(s.why for s in skipped).most_common():
        names = [s.what for s in skipped if s.why == why][:MOST_NAMED]
        more = f" and {number - len(names)} more" if number > len(names) else ""
        typer.echo(f"Left out: {', '.join(names)}{more}: {why}")
