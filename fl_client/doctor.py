"""Check that a site can take part: one finding a line, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from consent.demand import Demand
from consent.errors import DeniedError, MalformedError
from consent.gate import ConsentGate
from consent.model import Purpose
from consent.policy import decide_use
from consent.policy_log import site_rules
from consent.rulebook import Outcome
from core_model.data.labels import read_labels
from fl_client.permission import declared_use
from fl_client.site import Site

Level = Literal["ok", "warning", "error"]
_LEVELS: dict[Outcome, Level] = {
    Outcome.ALLOW: "ok",
    Outcome.REVIEW: "warning",
    Outcome.DENY: "error",
}


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    level: Level
    text: str


def examine(site: Site) -> Iterator[Finding]:
    """Yield findings about an opened site: device, frames, labels and consent."""
    yield Finding("ok", f"device {site.device}")
    yield from _frames(site)
    yield from _use(site)
    yield from _consent(site)
    yield from _labels(site)


def _frames(site: Site) -> Iterator[Finding]:
    empty = [r.recording_id for r in site.recordings if not site.frames.numbers(r)]
    people = len({r.subject_id for r in site.recordings})
    yield Finding("ok", f"{len(site.recordings)} recordings of {people} people")
    if empty:
        yield Finding("error", f"{len(empty)} recordings have no PNG frames, first: {empty[0]}")


def _use(site: Site) -> Iterator[Finding]:
    try:
        declaration = declared_use(site)
        verdict = decide_use(declaration, site_rules(site.registry), site.registry.now())
    except (DeniedError, MalformedError) as e:
        yield Finding("error", f"no round is trained: {e}")
        return
    first = verdict.findings[0]
    told = f"declared use: {verdict.outcome}, {first.rule}: {first.why}"
    yield Finding(_LEVELS[verdict.outcome], told)


def _consent(site: Site) -> Iterator[Finding]:
    subjects, gate = {r.subject_id for r in site.recordings}, _gate(site)
    for purpose in (Purpose.PRETRAINING, Purpose.FINETUNING):
        allowed = len(gate.rule(subjects, purpose).allowed)
        text = f"consent to {purpose}: {allowed} of {len(subjects)} people"
        least = site.config.caps.min_subjects
        if allowed >= least:
            yield Finding("ok", text)
        else:
            yield Finding("warning", f"{text}; record it with: omote-consent give")


def _gate(site: Site) -> ConsentGate:
    try:
        return site.gate.demanding(Demand.of(declared_use(site)))
    except (DeniedError, MalformedError):
        return site.gate


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
