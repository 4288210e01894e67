"""Check that a site can take part: one finding a line, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from consent.demand import Demand
from consent.errors import DeniedError, MalformedError
from consent.gate import ConsentGate, Ruling
from consent.model import Purpose
from consent.policy import decide_use
from consent.policy_log import site_rules
from consent.rulebook import Outcome
from consent.state import Status
from consent.upkeep import count_expiring
from core_model.data.labels import read_labels
from fl_client.permission import declared_use
from fl_client.site import Site

Level = Literal["ok", "warning", "error"]
_LEVELS: dict[Outcome, Level] = {
    Outcome.ALLOW: "ok",
    Outcome.REVIEW: "warning",
    Outcome.DENY: "error",
}
SOON_D = 30


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    level: Level
    text: str
    remedy: str = ""

    def lines(self) -> Iterator[str]:
        """Yield it as it is printed."""
        yield f"{self.level:8} {self.text}"
        if self.remedy:
            yield f"{'':8} -> {self.remedy}"


def examine(site: Site) -> Iterator[Finding]:
    """Yield findings about what an opened site trains on: recordings, consent and labels."""
    yield from _frames(site)
    yield from _use(site)
    yield _privacy(site)
    yield from _consent(site)
    yield from _expiring(site)
    yield from _labels(site)


def _frames(site: Site) -> Iterator[Finding]:
    people = len({r.subject_id for r in site.recordings})
    text = f"{len(site.recordings)} recordings of {people} people"
    if not site.recordings:
        lists = ", ".join(str(p) for p in site.config.recordings)
        yield Finding("warning", text, f"list your recordings in {lists}: docs/formats.md")
        return
    yield Finding("ok", text)
    if empty := [r.recording_id for r in site.recordings if not site.frames.numbers(r)]:
        yield Finding(
            "error",
            f"{len(empty)} recordings have no PNG frames, first: {empty[0]}",
            "put the frames where the list says, or take the recordings out of it",
        )


def _use(site: Site) -> Iterator[Finding]:
    try:
        declaration = declared_use(site)
        verdict = decide_use(declaration, site_rules(site.registry), site.registry.now())
    except (DeniedError, MalformedError) as e:
        yield Finding("error", f"no round is trained: {e}")
        return
    first = verdict.findings[0]
    told = f"declared use: {verdict.outcome}, {first.rule}: {first.why}"
    remedy = (
        "" if verdict.outcome is Outcome.ALLOW else f"omote-consent policy test {site.config.use}"
    )
    yield Finding(_LEVELS[verdict.outcome], told, remedy)


def _privacy(site: Site) -> Finding:
    caps = site.config.caps
    if caps.allows_training_without_privacy:
        return Finding(
            "warning",
            "rounds without noise are allowed: no promise covers whoever takes part",
            "for real people: allows_training_without_privacy = false in [caps]",
        )
    told = f"at most epsilon {caps.max_epsilon:g} of a person, and no round without noise"
    return Finding("ok", f"privacy: {told}")


def _consent(site: Site) -> Iterator[Finding]:
    subjects, gate = {r.subject_id for r in site.recordings}, _gate(site)
    for purpose in (Purpose.PRETRAINING, Purpose.FINETUNING):
        ruling = gate.rule(subjects, purpose)
        allowed = len(ruling.allowed)
        text = f"consent to {purpose}: {allowed} of {len(subjects)} people"
        least = site.config.caps.min_subjects
        if allowed >= least:
            yield Finding("ok", text)
        elif str(purpose) not in site.config.caps.purposes:
            yield Finding("ok", f"{text}; not among the purposes in [caps]")
        else:
            yield Finding("warning", text, _remedy(ruling, least))


def _remedy(ruling: Ruling, least: int) -> str:
    """Say what keeps people out: their answers, or what the site declared about its use."""
    found = Counter(d.status for d in ruling.decisions.values())
    if others := found[Status.UNDECLARED]:
        return (
            f"{others} agree, but the declared use does not speak of them: hold subject_relation "
            "and jurisdictions there against omote-consent subject add"
        )
    if lesser := found[Status.LESSER_GRADE]:
        return f"{lesser} agree less expressly than the declared use demands; ask them again"
    return f"at least {least} must agree; record it with: omote-consent give"


def _expiring(site: Site) -> Iterator[Finding]:
    ending = count_expiring(site.registry.state(), site.registry.now())
    for purpose in (Purpose.PRETRAINING, Purpose.FINETUNING):
        if number := ending[purpose][SOON_D]:
            yield Finding(
                "warning",
                f"consent to {purpose} of {number} people ends within {SOON_D} days",
                "ask them again: omote-consent renew",
            )


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
        yield Finding(
            "error" if site.recordings else "warning",
            f"labelled_aus names {missing}, but no frame is labelled for them",
            "label frames, or take them out of labelled_aus and send enrolment.json again",
        )
    elif counts:
        text = ", ".join(f"AU{a} {n}" for a, n in counts.items())
        yield Finding("ok", f"labelled frames: {text}")
