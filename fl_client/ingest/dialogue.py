"""What omote-site ingest opens, and what it says. The command itself only parses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consent.registry import Registry
from core_model.data.face import RECIPES, FaceDetector
from fl_client.config import load_site_config
from fl_client.crop_cache import CropKeys
from fl_client.errors import SiteError
from fl_client.ingest.formats import Details, Format, find, prefix_of
from fl_client.ingest.plan import Plan, Skipped, make_plan
from fl_client.ingest.receipts import Counts, Place
from fl_client.ingest.run import Ingest, Summary, check_room, run_plan

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


@dataclass(frozen=True)
class Wishes:
    """The options of the command, as typed."""

    form: str
    root: Path
    site: Path
    labels: Path | None
    data_set: str
    camera: str
    values: str
    licence: str
    prefix: str | None
    recipe: str
    size: int
    step: int
    detector: Path | None
    threshold: float
    workers: int
    to: Path | None
    dry_run: bool
    as_json: bool


def carry_out(wishes: Wishes) -> None:
    """Plan, tell, ingest, tell.

    Raises:
        SiteError: An option is wrong, another process is at work here, or the disk is full.
        ConsentError: The consent log cannot be used.
        FaceModelError: There is no face detector.
        ValueError: The data set is not laid out as its format says.
    """
    form = Format(_one_of("FORMAT", wishes.form, tuple(Format)))
    _one_of("--recipe", wishes.recipe, tuple(RECIPES))
    details = Details(
        labels=wishes.labels,
        data_set=_one_of("--data-set", wishes.data_set, ("bp4d", "bp4d_plus", "disfa")),
        camera=_one_of("--camera", wishes.camera, ("left", "right")),
        values=_one_of("--values", wishes.values, ("occurrence", "intensity")),
        licence=wishes.licence,
    )
    work = _opened(wishes)
    prefix = prefix_of(form, details) if wishes.prefix is None else wishes.prefix
    found = find(form, wishes.root, details)
    before = work.place.read()
    plan = make_plan(found, work.registry, before, work.recipe, work.step, prefix)
    free = shutil.disk_usage(_existing(work.place.folder)).free
    if not wishes.as_json:
        _tell_plan(plan, work, free)
    if wishes.dry_run:
        summary = Summary(before=list(plan.done), skipped=list(plan.skipped))
    else:
        check_room(plan, work.recipe, free)
        summary = _run(plan, work, quiet=wishes.as_json)
    _end(summary, wishes.as_json, plan)


L = TypeVar("L", bound=str)


def _one_of(name: str, given: str, known: tuple[L, ...]) -> L:
    for value in known:
        if value == given:
            return value
    raise SiteError(f"{name}: expected one of {', '.join(known)}; got {given!r}")


def _opened(wishes: Wishes) -> Ingest:
    """Open what ingesting needs. The lists of recordings are not read: there may be none yet."""
    config = load_site_config(wishes.site)
    return Ingest(
        registry=Registry.open(config.consent, lambda: datetime.now(UTC)),
        place=Place(wishes.to or config.recordings[0]),
        keys=CropKeys(config.consent / "keys" / "crops"),
        detector=FaceDetector(wishes.detector, wishes.threshold),
        recipe=RECIPES[wishes.recipe].resized(wishes.size),
        step=wishes.step,
        workers=wishes.workers,
    )


def _run(plan: Plan, work: Ingest, *, quiet: bool) -> Summary:
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
