"""What to collect next, from the figures of a data report. Pure; each rule is one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from core_model.action_units import NAMES
from core_model.evaluation.data_result import DataReport

FEW_PEOPLE = 20  # below, intervals by person are too wide to compare models
RARE = 0.05  # of frames
SHOWN_BY = 0.5  # of people, at least
SHORTCUT = 0.65  # AUC: from here on, who it is tells much
UNKNOWN = 0.2  # of labels
TURNED = 0.1  # of frames, at least
EVEN = 0.5  # effective people, of people
REPEATED = 0.5  # of frames
SMALL_EYES = 24.0  # pixels between the eyes; a crop of 64 shows no more
MOST_NAMED = 6


def advice(report: DataReport) -> tuple[str, ...]:
    """Return what would make the data more diverse, the most telling first."""
    return tuple(_people(report)) + tuple(_labels(report)) + tuple(_looks(report))


def _people(r: DataReport) -> Iterator[str]:
    if r.people < FEW_PEOPLE:
        yield (
            f"More people before more frames: there are {r.people}, and {FEW_PEOPLE} are the least "
            "with which results can be told apart by person."
        )
    if r.effective_people is not None and r.effective_people < EVEN * r.people:
        yield (
            f"Even out: the frames are worth those of {r.effective_people:.1f} equal people; "
            f"one person has {100 * (r.largest_share or 0):.0f} % of them."
        )
    if r.shared_between_people:
        yield (
            f"{r.shared_between_people} frames are nearly equal to one of another person: look for "
            "names mixed up, or one recording under two names."
        )


def _labels(r: DataReport) -> Iterator[str]:
    rare = [f for f in r.action_units if f.base_rate is not None and f.base_rate < RARE]
    if rare:
        yield (
            f"Tasks that bring out {_named([f.au for f in rare])}: each is in fewer than "
            f"{100 * RARE:.0f} % of frames."
        )
    few = [f for f in r.action_units if f.people_showing < SHOWN_BY * f.people_known]
    if few := [f for f in few if f not in rare]:
        yield (
            f"More people who show {_named([f.au for f in few])}: fewer than half do, so who it is "
            "tells about the AU."
        )
    told = [f for f in r.action_units if (f.shortcut_auc or 0) >= SHORTCUT]
    if told:
        worst = max(told, key=lambda f: f.shortcut_auc or 0)
        yield (
            f"The same people with and without {_named([f.au for f in told])}: knowing who it is "
            f"predicts AU{worst.au} with AUC {worst.shortcut_auc:.2f}. A model can learn faces "
            "instead of movements; identity adversarial training is meant for this."
        )
    open_ = [f for f in r.action_units if f.unknown > UNKNOWN * max(1, f.known + f.unknown)]
    if open_:
        yield f"Have {_named([f.au for f in open_])} coded: over {100 * UNKNOWN:.0f} % is unknown."


def _looks(r: DataReport) -> Iterator[str]:
    if r.yaw and 1 - r.yaw.get("frontal", 0) < TURNED:
        yield f"Faces that look aside: {100 * r.yaw['frontal']:.0f} % are frontal."
    empty = [name for name, number in r.lightness.items() if number == "0"]
    if r.lightness and empty:
        yield (
            f"People with skin that is {', '.join(empty)}, as this camera sees it (ITA): there is "
            "nobody. Accuracy for them cannot be known from these data."
        )
    if r.brightness is not None and r.brightness.high - r.brightness.low < 0.15:
        yield "Other light: nearly all frames are equally bright."
    if r.eye_distance is not None and r.eye_distance.median < SMALL_EYES:
        yield (
            f"Come closer or record larger: the eyes are {r.eye_distance.median:.0f} pixels apart "
            "in the original."
        )
    if r.repeated_share is not None and r.repeated_share > REPEATED:
        yield (
            f"Fewer frames a second: {100 * r.repeated_share:.0f} % repeat an earlier one of their "
            "recording; --step of ingest leaves them out."
        )


def _named(aus: list[int]) -> str:
    shown = [f"AU{au} ({NAMES[au].lower()})" for au in aus[:MOST_NAMED]]
    more = f" and {len(aus) - MOST_NAMED} more" if len(aus) > MOST_NAMED else ""
    return ", ".join(shown) + more
