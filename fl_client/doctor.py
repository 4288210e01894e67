"""Check that a site can take part: one finding a line, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from consent.model import Purpose
from core_model.data.labels import read_labels
from fl_client.site import Site


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    level: Literal["ok", "warning", "error"]
    text: str


def examine(site: Site) -> Iterator[Finding]:
    """Yield findings about an opened site: device, frames, labels and consent."""
    yield Finding("ok", f"device {site.device}")
    yield from _frames(site)
    yield from _consent(site)
    yield from _labels(site)


def _frames(site: Site) -> Iterator[Finding]:
    empty = [r.recording_id for r in site.recordings if not site.frames.numbers(r)]
    people = len({r.subject_id for r in site.recordings})
    yield Finding("ok", f"{len(site.recordings)} recordings of {people} people")
    if empty:
        yield Finding("error", f"{len(empty)} recordings have no PNG frames, first: {empty[0]}")


def _consent(site: Site) -> Iterator[Finding]:
    subjects = {r.subject_id for r in site.recordings}
    for purpose in (Purpose.PRETRAINING, Purpose.FINETUNING):
        allowed = len(site.gate.rule(subjects, purpose).allowed)
        text = f"consent to {purpose}: {allowed} of {len(subjects)} people"
        least = site.config.caps.min_subjects
        if allowed >= least:
            yield Finding("ok", text)
        else:
            yield Finding("warning", f"{text}; record it with: omote-consent give")


def _labels(site: Site) -> Iterator[Finding]:
    counts = dict.fromkeys(site.config.labelled_aus, 0)
    for recording in site.recordings:
        if recording.labels is not None:
            _, known = read_labels(recording.labels).occurrence(site.config.labelled_aus)
            for au, number in zip(counts, known.sum(axis=0).astype(int).tolist(), strict=True):
                counts[au] += number
    if missing := [au for au, n in counts.items() if n == 0]:
        yield Finding("error", f"labelled_aus names {missing}, but no frame is labelled for them")
    elif counts:
        yield Finding(
            "ok", "labelled frames: " + ", ".join(f"AU{a} {n}" for a, n in counts.items())
        )
