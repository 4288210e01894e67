"""What is to be ingested, before anything is: who agrees, what is there already, what is not right.

A dry run is this alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.model import SUBJECT_ID, Purpose
from consent.registry import Registry
from core_model.data.face import CropRecipe
from core_model.data.source import Found, LayoutError, Source
from core_model.data.video import VideoError
from fl_client.crop_shard import shard_bytes
from fl_client.ingest.cut import fingerprint, frame_numbers, wanted_frames
from fl_client.ingest.receipts import Receipt

USES = (Purpose.PRETRAINING, Purpose.FINETUNING, Purpose.EVALUATION)
"""Whoever agrees to one of these may be cut out; rounds ask again, for theirs."""

NO_CONSENT = "agrees to no training or evaluation, or is not registered"


@dataclass(frozen=True)
class Skipped:
    """A recording that is left out, and why. ``what`` names a file or recording of the data set."""

    what: str
    why: str


@dataclass(frozen=True)
class Task:
    """A recording to ingest, for a person of the consent log."""

    source: Source
    subject_id: str
    fingerprint: str
    num_frames: int


@dataclass(frozen=True)
class Plan:
    """What will be done, what is done already, and what is left out."""

    todo: tuple[Task, ...]
    done: tuple[Receipt, ...]
    skipped: tuple[Skipped, ...]

    @property
    def num_frames(self) -> int:
        """To look at."""
        return sum(task.num_frames for task in self.todo)

    def num_bytes(self, recipe: CropRecipe) -> int:
        """Return how much room the crops will take at most."""
        return sum(shard_bytes(recipe.size, task.num_frames) for task in self.todo)


def make_plan(
    found: Found,
    registry: Registry,
    receipts: dict[str, Receipt],
    recipe: CropRecipe,
    step: int,
    prefix: str,
) -> Plan:
    """Return the plan for a data set.

    Args:
        found: Its recordings.
        registry: The site's consent.
        receipts: Of what was ingested before.
        recipe: How faces are cut.
        step: Every which frame is taken.
        prefix: Before the data set's name of a person, to give the site's: data sets share names.
    """
    skipped = [Skipped(text.split(":")[0], text.partition(": ")[2]) for text in found.passed_over]
    names = {s.subject: subject_of(registry, prefix + s.subject) for s in found.sources}
    allowed = may_be_cut(registry, [n for n in names.values() if n])
    todo, done = [], []
    for source in found.sources:
        subject_id = names[source.subject]
        if subject_id is None or subject_id not in allowed:
            skipped.append(Skipped(source.recording_id, NO_CONSENT))
            continue
        try:
            task = _task(source, subject_id, recipe, step)
        except (LayoutError, VideoError, OSError) as e:
            skipped.append(Skipped(source.recording_id, str(e)))
            continue
        before = receipts.get(source.recording_id)
        if before is not None and before.fingerprint == task.fingerprint:
            done.append(before)
        else:
            todo.append(task)
    return Plan(tuple(todo), tuple(done), tuple(skipped))


def _task(source: Source, subject_id: str, recipe: CropRecipe, step: int) -> Task:
    _, _, wanted = wanted_frames(source, step)
    number = len(frame_numbers(source)) if wanted is None else len(wanted)
    mark = fingerprint(source, recipe, step)
    return Task(source, subject_id, f"{mark}", number)


def subject_of(registry: Registry, name: str) -> str | None:
    """Return the subject id of a person: one of the log, or one known there by this outside id."""
    if re.fullmatch(SUBJECT_ID, name) and name in registry.state().subjects:
        return name
    return registry.find(name)


def may_be_cut(registry: Registry, subject_ids: Iterable[str]) -> frozenset[str]:
    """Return those who agree to at least one use of their face crops, now."""
    people: Sequence[str] = list(subject_ids)
    if not people:
        return frozenset()
    return frozenset().union(*(registry.gate.rule(people, use).allowed for use in USES))
